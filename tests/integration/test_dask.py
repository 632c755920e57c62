"""Whoever fills the shards, the corpus is the same: threads, and four worker processes of a Dask cluster."""

import os
import signal
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from catalog.errors import DeepSentinelError
from catalog.shard import list_shards, shard_ref
from ingest.build import Build, run
from ingest.errors import PlanError
from ingest.ledger import read_rows
from ingest.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def alone(tiny_archive, tiny_plan, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "corpus"
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(Build(tiny_plan, out, shard_rows=8))
    return out


def assert_same(one, other):
    assert [shard_ref(one, i) for i in list_shards(one)] == [shard_ref(other, i) for i in list_shards(other)]
    assert read_rows(one / "ledger") == read_rows(other / "ledger")


def test_three_threads_build_the_same_bytes(alone, tiny_archive, tiny_plan, tmp_path):
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(Build(tiny_plan, tmp_path / "corpus", shard_rows=8, scheduler="threads", workers=3))
    assert_same(tmp_path / "corpus", alone)


def test_four_dask_workers_build_the_same_bytes(alone, tiny_archive, tiny_plan, tmp_path):
    distributed = pytest.importorskip("distributed")
    with Sandbox(tiny_archive) as sandbox, sandbox.applied(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own, of ports and event loops
        cluster = distributed.LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None)
        with cluster:
            run(Build(tiny_plan, tmp_path / "corpus", shard_rows=8, scheduler=cluster.scheduler_address))
    assert len(list_shards(alone)) == 8
    assert_same(tmp_path / "corpus", alone)


def test_a_killed_dask_worker_costs_no_shard(alone, tiny_archive, tiny_plan, tmp_path):
    """The scheduler gives its shard to another worker."""
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "corpus"
    with Sandbox(tiny_archive, latency_s=0.01) as sandbox, sandbox.applied(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own, of ports and event loops
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, ThreadPoolExecutor(1) as pool:
            built = pool.submit(run, Build(tiny_plan, out, shard_rows=8, scheduler=cluster.scheduler_address))
            while not list_shards(out):
                assert not built.done()
                time.sleep(0.01)
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            assert len(list_shards(out)) < 8
            assert built.result().written == 64
    assert_same(out, alone)


def test_a_scheduler_that_is_not_there_or_unknown_is_named(tiny_archive, tiny_plan, tmp_path):
    for scheduler, hint in (("slurm", "unknown scheduler 'slurm'"), ("tcp://127.0.0.1:9", "no Dask scheduler answers")):
        with Sandbox(tiny_archive) as sandbox, sandbox.applied(), pytest.raises(PlanError, match=hint) as error:
            run(Build(tiny_plan, tmp_path / "corpus", shard_rows=8, scheduler=scheduler))
        assert isinstance(error.value, DeepSentinelError)
