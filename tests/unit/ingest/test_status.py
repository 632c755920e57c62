import fcntl
import json
from collections import Counter

import pytest

from catalog.errors import CorpusError
from ingest.ledger import Row, write_rows
from ingest.status import Status, run
from ingest.tally import Teller


@pytest.fixture
def build(tmp_path):
    """A build of four patches: one shard committed, one whose ledger stands but not its pixels."""
    (tmp_path / "shards" / "000000.zarr").mkdir(parents=True)
    (tmp_path / "shards" / ".000001.zarr.77").mkdir()
    (tmp_path / "corpus.json").write_text(json.dumps({"plan": {"count": 4}}))
    (tmp_path / ".lock").touch()
    write_rows([Row(5, "c", "skipped", "cloudy_scene")], tmp_path / "ledger" / "pairing.jsonl")
    written = [Row(0, "a", "written", patch_id="a-1"), Row(1, "b", "written", patch_id="b-1")]
    write_rows([*written, Row(2, "d", "skipped", "cloudy_patch")], tmp_path / "ledger" / "000000.jsonl")
    lost = [Row(3, "e", "written", patch_id="e-1"), Row(4, "f", "failed", "unreadable")]
    write_rows(lost, tmp_path / "ledger" / "000001.jsonl")
    return tmp_path


def test_only_committed_shards_count(build):
    progress = run(Status(build))
    assert (progress.written, progress.wanted, progress.shards, progress.running) == (2, 4, 1, False)
    assert progress.counts["skipped", "cloudy_patch"] == 1
    assert progress.counts["skipped", "cloudy_scene"] == 1
    assert progress.counts["failed", "unreadable"] == 1


def test_a_build_that_holds_the_lock_is_running(build, capsys):
    with (build / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(Status(build)).running
    assert not run(Status(build)).running
    assert "unfinished; run the same build again" in " ".join(capsys.readouterr().out.split())


def test_a_running_build_tells_its_rate_and_the_time_left(build, capsys, monkeypatch):
    """Of four patches two are written and one more was read in two seconds; a committed shard has no rate."""
    monkeypatch.setattr("ingest.tally.time.monotonic", iter([0.0, 1.0, 10.0, 12.0]).__next__)
    for index in (0, 1):
        Teller(build, index).tell(1, Counter(), 3_000_000, at_once=True)
    assert run(Status(build)).per_s == 0
    with (build / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        progress = run(Status(build))
    assert (progress.in_hand, progress.per_s, progress.seconds_left) == (1, 0.5, 2.0)
    assert progress.fetched_bytes == 6_000_000
    assert "1 more read, 0.5 patches/s, 0:00:02 left" in " ".join(capsys.readouterr().out.split())


def test_a_folder_without_a_build_is_named(tmp_path):
    with pytest.raises(CorpusError, match="there is no build in"):
        run(Status(tmp_path))
