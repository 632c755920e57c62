"""Builds killed, stopped, out of disk, or left alone by the provider for a while: the corpus comes out right."""

import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.chaos import build, contents, disturb, ids
from catalog.shard import list_shards
from ingest import fill
from ingest.build import Build, run
from ingest.errors import ReadError, WriteError
from ingest.ledger import read_rows
from ingest.sandbox.faults import Faults
from ingest.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def undisturbed(tiny_archive, tiny_plan, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "corpus"
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(Build(tiny_plan, out, shard_rows=8))
    return out


def test_three_kills_of_a_build_with_two_workers_change_nothing(undisturbed, tiny_archive, tiny_plan, tmp_path):
    with Sandbox(tiny_archive, latency_s=0.002) as sandbox:
        environ = {**os.environ, **sandbox.environ}
        outcome = disturb(tiny_plan, tmp_path / "corpus", undisturbed, environ, [1.0, 2.2, 2.6], 2)
    assert outcome.same_bytes
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert len(ids(tmp_path / "corpus")) == 64


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_stopped_build_says_so_leaves_no_worker_and_goes_on(
    number, status, undisturbed, tiny_archive, tiny_plan, tmp_path
):
    out = tmp_path / "corpus"
    with Sandbox(tiny_archive, latency_s=0.01) as sandbox:
        environ = {**os.environ, **sandbox.environ}
        process = build(tiny_plan, out, environ, 2)
        while not list_shards(out):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(20) == status
        before = list_shards(out)
        time.sleep(0.5)
        assert list_shards(out) == before  # nobody works on
        assert build(tiny_plan, out, environ, 1).wait() == 0
    assert contents(out) == contents(undisturbed)


def test_a_full_disk_is_named_and_the_build_goes_on_when_there_is_room(
    undisturbed, tiny_archive, tiny_plan, tmp_path, monkeypatch
):
    out, write = tmp_path / "corpus", fill.write_shard

    def write_until_full(root, index, patches):
        if index >= 3:
            raise OSError(28, "No space left on device")
        return write(root, index, patches)

    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        monkeypatch.setattr(fill, "write_shard", write_until_full)
        with pytest.raises(WriteError, match="No space left on device; make room"):
            run(Build(tiny_plan, out, shard_rows=8))
        assert list_shards(out) == [0, 1, 2]
        monkeypatch.setattr(fill, "write_shard", write)
        run(Build(tiny_plan, out, shard_rows=8))
    assert contents(out) == contents(undisturbed)


def test_a_provider_away_for_a_while_is_waited_for(undisturbed, tiny_archive, tiny_plan, tmp_path):
    """Here two seconds; the default patience is two minutes."""
    out = tmp_path / "corpus"
    with Sandbox(tiny_archive, latency_s=0.01) as sandbox:
        environ, port = {**os.environ, **sandbox.environ}, int(sandbox.url.rpartition(":")[2])
        process = build(tiny_plan, out, environ, 1)
        while not list_shards(out):
            assert process.poll() is None
            time.sleep(0.01)
    time.sleep(2)
    with Sandbox(tiny_archive, port=port):
        assert process.wait(120) == 0
    assert contents(out) == contents(undisturbed)


def test_failures_beyond_the_stated_share_end_the_build_with_an_error(undisturbed, tiny_archive, tiny_plan, tmp_path):
    out = tmp_path / "corpus"
    busy = Faults(blob_503_every=1)
    with Sandbox(tiny_archive, faults=busy) as sandbox, sandbox.applied():
        with pytest.raises(ReadError, match=r"64 of 64 patches failed \(--max-failed-share 0.5\)"):
            run(Build(tiny_plan, out, shard_rows=64, patience_s=0.0, max_failed_share=0.5))
        assert {row.reason for row in read_rows(out / "ledger")} == {"image_out_of_reach"}
        summary = run(Build(tiny_plan, out, shard_rows=64, patience_s=0.0, max_failed_share=1.0))
    assert (summary.written, summary.failed.total()) == (0, 64)


def test_a_killed_worker_ends_the_build_and_the_next_goes_on(undisturbed, tiny_archive, tiny_plan, tmp_path):
    psutil = pytest.importorskip("psutil")
    out = tmp_path / "corpus"
    with Sandbox(tiny_archive, latency_s=0.01) as sandbox:
        environ = {**os.environ, **sandbox.environ}
        command = [sys.executable, "-m", "ingest.build", tiny_plan, "--out", out, "--shard-rows", "8", "--workers", "2"]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not list_shards(out):
            assert process.poll() is None
            time.sleep(0.01)
        workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        workers[0].kill()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 2
        assert "a worker process died" in errors
        assert build(tiny_plan, out, environ, 1).wait() == 0
    assert contents(out) == contents(undisturbed)
