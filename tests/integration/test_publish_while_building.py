"""Publishing and reading a corpus while it is built: whoever reads sees whole shards of one state, and nothing else."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalog.corpus import Corpus
from catalog.errors import CorpusError
from catalog.publish import publish
from catalog.shard import list_shards, provenance_of
from ingest.build import Build, run
from ingest.sandbox.faults import Faults
from ingest.sandbox.server import Sandbox

SHARD_ROWS = 4


@pytest.fixture(scope="module")
def undisturbed(tiny_archive, tiny_plan, tmp_path_factory):
    """A corpus built whole and published once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(Build(tiny_plan, folder / "build", shard_rows=SHARD_ROWS))
    publish([folder / "build"], folder / "catalog", workers=1)
    return folder / "catalog"


def contents(catalog):
    """Bytes of every published file but the index, which is compared as a table, and the history of publishings."""
    files = [path for path in sorted(catalog.rglob("*")) if path.is_file()]
    found = {path.relative_to(catalog).as_posix(): path.read_bytes() for path in files}
    for name in [name for name in found if name.endswith("items.parquet") or name.endswith("CHANGELOG.md")]:
        del found[name]
    for name in [name for name in found if name.endswith("/collection.json")]:
        collection = json.loads(found[name])
        found[name] = {key: collection[key] for key in collection if key not in ("version", "deepsentinel:changes")}
    return found


def check_whole(collection, build):
    """Every published item opens, in whole shards that the build has committed; returns their number."""
    corpus = Corpus.open(collection)
    shards, counts = np.unique(corpus.table["deepsentinel:shard"].to_numpy(), return_counts=True)
    assert set(shards.tolist()) <= set(list_shards(build))
    assert (counts == SHARD_ROWS).all()
    stored = [provenance.patch_id for shard in shards.tolist() for provenance in provenance_of(build, shard)]
    assert corpus.table["id"].to_pylist() == stored
    assert [patch.patch_id for patch in corpus] == stored
    for shard in shards.tolist():
        folder = collection / f"shard-{shard:06d}"
        linked = [link["href"] for link in json.loads((folder / "catalog.json").read_text())["links"]]
        items = [json.loads((folder / href).read_text())["id"] for href in linked if href.endswith("-20180605.json")]
        assert len(items) == SHARD_ROWS
    assert len(json.loads((collection / "collection.json").read_text())["links"]) >= len(shards)
    return len(shards)


def read_on(collection, stop, seen):
    """Open the corpus and read its last patch until told to stop; a state between two is refused, never shown."""
    while not stop.is_set():
        try:
            corpus = Corpus.open(collection)
        except CorpusError as error:
            seen.append(0 if "try again" in str(error) or "publish a build there" in str(error) else error)
            continue
        corpus.read([len(corpus) - 1], corpus.arrays)
        seen.append(len(corpus))


def test_readers_see_whole_shards_only_and_the_last_publishing_equals_an_undisturbed_one(
    undisturbed, tiny_archive, tiny_plan, tmp_path
):
    build, catalog = tmp_path / "build", tmp_path / "catalog"
    command = [sys.executable, "-m", "ingest.build", str(tiny_plan), "--out", str(build), "--workers", "2"]
    command += ["--shard-rows", str(SHARD_ROWS)]
    states, seen, stop = [], [], threading.Event()
    reader = threading.Thread(target=read_on, args=(catalog / "unlabelled", stop, seen))
    with Sandbox(tiny_archive, latency_s=0.02) as sandbox:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env={**os.environ, **sandbox.environ}, **quiet)
        reader.start()
        try:
            while process.poll() is None:
                if list_shards(build):
                    publish([build], catalog, workers=1)
                    states.append(check_whole(catalog / "unlabelled", build))
        finally:
            stop.set()
            process.kill()
            reader.join()
    assert process.returncode == 0
    publish([build], catalog, workers=1)
    everything = check_whole(catalog / "unlabelled", build)
    assert states == sorted(states)
    assert len(set(states) - {everything}) > 1  # some states were published before the build was done
    assert [rows for rows in seen if not isinstance(rows, int) or rows % SHARD_ROWS] == []
    assert max(seen) > 0
    assert contents(catalog) == contents(undisturbed)
    indexes = [Corpus.open(folder / "unlabelled").table for folder in (catalog, undisturbed)]
    assert indexes[0].equals(indexes[1])


def test_a_build_that_has_begun_asks_for_no_new_scenes(undisturbed, tiny_archive, tiny_plan, tmp_path):
    """Other scenes would deal other candidates to the shards to come, and the same patch to two of them."""
    build = tmp_path / "build"
    options = Build(tiny_plan, build, shard_rows=SHARD_ROWS)
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(options)
    for path in (build / "index").rglob("*.parquet"):
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)  # as if its days were not over
    with Sandbox(tiny_archive, faults=Faults(search_504_every=1)) as sandbox, sandbox.applied():
        run(options)
        assert sandbox.counters.searches == 0
