"""Corpora on a web server, over real HTTP: patches as on disk, few requests, faults survived or explained."""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.range_server import Faults, RangeServer
from catalog.corpus import Corpus
from catalog.errors import ChecksumError, CorpusError, StoreError
from catalog.fake import write_fake_build
from catalog.publish import publish
from catalog.shard import ShardRef
from catalog.shard_cache import ShardCache

NAMES = ("s2_10m", "s2_20m", "s1")
SHARD_ROWS = 16


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    publish([write_fake_build(folder / "build", 48, side_px=32, shard_rows=SHARD_ROWS)], folder / "public")
    return folder / "public"


@pytest.fixture(scope="module")
def local(public: Path) -> Corpus:
    return Corpus.open(public / "labelled")


@pytest.fixture(scope="module")
def server(public: Path) -> Iterator[RangeServer]:
    with RangeServer(public) as server:
        yield server


@pytest.fixture
def shard_bytes(public: Path) -> int:
    shard = public / "labelled/shards/000000.zarr"
    return sum(file.stat().st_size for file in shard.rglob("*") if file.is_file())


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_remote_corpus_is_the_one_on_disk(server: RangeServer, local: Corpus):
    remote = Corpus.open(f"{server.href}/labelled/")
    assert remote.table.equals(local.table)
    assert remote.statistics == local.statistics
    assert (remote.version, remote.fingerprint, remote.arrays) == (local.version, local.fingerprint, local.arrays)
    rows = np.random.default_rng(0).permutation(48)
    assert equal(remote.read(rows, remote.arrays), local.read(rows, local.arrays))
    one, other = remote[17], local[17]
    assert one.provenance == other.provenance
    np.testing.assert_array_equal(one.labels["corine"], other.labels["corine"])


def test_each_array_of_a_random_patch_is_one_request_once_the_shards_are_known(server: RangeServer):
    corpus = Corpus.open(f"{server.href}/labelled")
    corpus.read([0, 16, 32], NAMES)
    far_apart = [1, 5, 9, 17, 21, 25, 33, 37, 41]
    with server.counted() as requests:
        corpus.read(far_apart, NAMES)
    assert requests == [3 * len(far_apart)]


def test_neighbours_come_in_one_request_an_array_and_shard_in_any_order_and_twice(server: RangeServer, local: Corpus):
    corpus = Corpus.open(f"{server.href}/labelled")
    corpus.read([0, 16], NAMES)
    rows = [20, 4, 5, 3, 19, 3]
    with server.counted() as requests:
        found = corpus.read(rows, NAMES)
    assert requests == [3 * 2]
    assert equal(found, local.read(rows, NAMES))


def test_an_epoch_of_random_patches_takes_little_more_than_a_request_an_array(server: RangeServer):
    corpus, rows = Corpus.open(f"{server.href}/labelled"), np.random.default_rng(1).permutation(48)
    with server.counted() as requests:
        for start in range(0, 48, 8):
            corpus.read(rows[start : start + 8], NAMES)
    # Metadata and index of three arrays a shard: with shards of 256 rows that is 0.023 a patch.
    assert requests[0] <= 3 * 48 + 2 * 3 * (48 // SHARD_ROWS)


@pytest.mark.parametrize("faults", [Faults((429, 503, 500)), Faults(broken=2)])
def test_passing_troubles_are_waited_out(public: Path, local: Corpus, faults: Faults):
    with RangeServer(public, faults=faults) as server:
        assert equal(Corpus.open(f"{server.href}/labelled").read([5, 20], ["s1"]), local.read([5, 20], ["s1"]))


def test_lasting_troubles_name_the_shard_and_the_answer(public: Path):
    with RangeServer(public, faults=Faults((403,) * 9)) as server:
        corpus = Corpus.open(f"{server.href}/labelled")
        with pytest.raises(StoreError, match=r"labelled/shards/000001\.zarr/s1.*403.*credentials"):
            corpus.read([20], ["s1"])


def test_damage_on_the_way_is_noticed_and_names_the_patch(public: Path, local: Corpus):
    patch_id = local.table["id"][20].as_py()
    with RangeServer(public, faults=Faults((500,), damaged=2)) as server:
        corpus = Corpus.open(f"{server.href}/labelled")
        with pytest.raises(ChecksumError, match=r"chunk index of http.*000001\.zarr/s1 is damaged"):
            corpus.read([20], ["s1"])
    with RangeServer(public, faults=Faults()) as server:
        corpus = Corpus.open(f"{server.href}/labelled")
        corpus.read([17], ["s1"])
    with RangeServer(public, faults=Faults(intact=1, damaged=1)) as server:
        corpus = Corpus.open(f"{server.href}/labelled")
        with pytest.raises(ChecksumError, match=rf"patch {patch_id}: row 4 of http.*000001\.zarr/s1 is damaged"):
            corpus.read([20], ["s1"])


@pytest.mark.parametrize(
    "href, message",
    [
        ("ftp://host/corpus", "ftp:// cannot be read; give a folder or https"),
        ("https://host/corpus?sig=secret", r"https://host/corpus: addresses with a query"),
    ],
)
def test_addresses_that_cannot_be_read_say_so_without_asking(href: str, message: str):
    with pytest.raises(CorpusError, match=message) as caught:
        Corpus.open(href)
    assert "secret" not in str(caught.value)


def test_an_address_without_a_corpus_says_what_is_missing(server: RangeServer):
    with pytest.raises(
        CorpusError,
        match=r"there is no http://.*/nothing/collection\.json; check the address, or publish a build there",
    ):
        Corpus.open(f"{server.href}/nothing")


def test_a_cache_fetches_each_shard_once_and_keeps_it_for_the_next_process(
    server: RangeServer, local: Corpus, tmp_path: Path
):
    rows = np.random.default_rng(2).permutation(48)
    for first in (True, False):
        cache = ShardCache(tmp_path / "cache")
        corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
        with server.counted() as requests:
            assert equal(corpus.read(rows, NAMES), local.read(rows, NAMES))
        with server.counted() as again:
            assert equal(corpus.read(rows, NAMES), local.read(rows, NAMES))
        assert again == [0]
        assert (requests[0] > 3) == first  # afterwards only what shards must be: three checksums
        cache.close()


def test_a_cache_stays_within_its_size_and_forgets_the_shard_used_longest_ago(
    server: RangeServer, local: Corpus, shard_bytes: int, tmp_path: Path
):
    cache = ShardCache(tmp_path, int(2.5 * shard_bytes))
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
    for row in (0, 16, 1, 32):
        assert equal(corpus.read([row], NAMES), local.read([row], NAMES))
        assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 2.5 * shard_bytes
    with server.counted() as requests:
        corpus.read([2, 33], NAMES)
    assert requests == [0]
    with server.counted() as requests:
        corpus.read([17], NAMES)
    assert requests[0] > 0
    with pytest.raises(CorpusError, match="one batch needs 3 shards"):
        corpus.read([0, 16, 32], NAMES)
    cache.close()


def test_a_shard_that_is_not_what_was_published_never_enters_the_cache(public: Path, tmp_path: Path):
    with RangeServer(public, faults=Faults(damaged=1)) as server:
        cache = ShardCache(tmp_path)
        corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
        with pytest.raises(ChecksumError, match=r"shards/000001\.zarr is not what was published"):
            corpus.read([20], NAMES)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        assert corpus.read([20], NAMES)["s1"].shape == (1, 2, 32, 32)
        cache.close()


def test_what_else_lies_in_the_folder_of_a_cache_stays(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("all of it")
    cache = ShardCache(tmp_path, 1)
    cache._make_room(ShardRef("", 1, 1, "0" * 64))
    assert (tmp_path / "thesis/thesis.tex").exists()
    cache.close()


def test_a_cache_that_holds_one_batch_serves_while_more_is_asked_for_ahead(
    server: RangeServer, local: Corpus, shard_bytes: int, tmp_path: Path
):
    cache = ShardCache(tmp_path, int(1.5 * shard_bytes))
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
    for row in (0, 16, 32, 1, 17, 33):
        corpus.prefetch(np.array([row, (row + 16) % 48, (row + 32) % 48]))
        assert equal(corpus.read([row], NAMES), local.read([row], NAMES))
    cache.close()  # waits for what is fetched ahead
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 1.5 * shard_bytes


def test_no_shard_is_removed_for_one_that_finds_no_room(
    server: RangeServer, local: Corpus, shard_bytes: int, tmp_path: Path
):
    cache = ShardCache(tmp_path, int(2.5 * shard_bytes))
    store = Corpus.open(f"{server.href}/labelled", cache=cache)._published[0].store
    with cache.kept(store, [0]):
        pass
    with cache.kept(store, [1]):
        kept = {path.name for path in tmp_path.iterdir()}
        assert not cache._make_room(ShardRef("", 1, 2 * shard_bytes, "0" * 64))
        assert {path.name for path in tmp_path.iterdir()} == kept
        assert cache._make_room(ShardRef("", 1, shard_bytes, "0" * 64))
        assert len({path.name for path in tmp_path.iterdir()}) == len(kept) - 1
    cache.close()


def test_threads_that_need_more_than_a_cache_holds_wait_for_each_other(
    server: RangeServer, local: Corpus, shard_bytes: int, tmp_path: Path
):
    cache = ShardCache(tmp_path, int(2.5 * shard_bytes))
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)

    def read(seed: int) -> bool:
        rng, right = np.random.default_rng(seed), True
        for _ in range(12):
            rows = rng.choice(48, 2, replace=False)
            corpus.prefetch(rng.choice(48, 3))
            right &= equal(corpus.read(rows, NAMES), local.read(rows, NAMES))
        return right

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    cache.close()  # waits for what is fetched ahead: files that come and go cannot be measured
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 2.5 * shard_bytes


def test_a_shard_that_had_to_go_while_its_fetch_was_ending_is_fetched_again(
    server: RangeServer, local: Corpus, shard_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = ShardCache(tmp_path, int(1.5 * shard_bytes))
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
    here, go_on, remove = threading.Event(), threading.Event(), shutil.rmtree

    def held_once(path: Path, **options: bool) -> None:
        if ".fetching-" in str(path) and not here.is_set():
            here.set()
            go_on.wait(20)
        remove(path, **options)

    monkeypatch.setattr("catalog.shard_cache.shutil.rmtree", held_once)
    corpus.prefetch(np.array([0]))
    assert here.wait(20)  # shard 0 has come, but those who wait for it do not know yet
    corpus.prefetch(np.array([16]))
    threading.Timer(0.5, go_on.set).start()
    assert equal(corpus.read([0], NAMES), local.read([0], NAMES))
    cache.close()


def test_a_cache_keeps_few_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    publish([write_fake_build(tmp_path / "build", 12, side_px=16, shard_rows=1)], tmp_path / "public", workers=1)
    monkeypatch.setattr("catalog.stores._MAX_DESCRIPTORS", 8)
    cache = ShardCache(tmp_path / "cache")
    with RangeServer(tmp_path / "public") as server:
        corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
        for row in range(12):
            corpus.read([row], NAMES)
        assert 3 <= len(open_files(tmp_path / "cache")) <= 8 + 1  # and the lock
    cache.close()
    assert not open_files(tmp_path / "cache")


def open_files(folder: Path) -> list[Path]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # what looks through them is open itself
            found.append(link.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def test_equal_shards_of_several_corpora_are_kept_once(public: Path, local: Corpus, tmp_path: Path):
    build = write_fake_build(tmp_path / "build", 16, side_px=32, shard_rows=SHARD_ROWS)
    (build / "shards/000000.zarr").rename(build / "shards/000007.zarr")
    for ledger in (build / "ledger").glob("*"):
        ledger.rename(ledger.with_name(ledger.name.replace("000000", "000007")))
    publish([build], tmp_path / "public")
    cache = ShardCache(tmp_path / "cache")
    with RangeServer(public) as one, RangeServer(tmp_path / "public") as other:
        corpora = [Corpus.open(f"{server.href}/labelled", cache=cache) for server in (one, other)]
        assert equal(Corpus.join(corpora).read([3, 48 + 3], NAMES), local.read([3, 3], NAMES))
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1
    cache.close()


def test_a_shard_that_found_no_room_ahead_is_fetched_when_it_is_read(
    server: RangeServer, local: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = ShardCache(tmp_path)
    answers = iter([False, False])  # as when nobody waits for the shard yet
    make_room = cache._make_room
    monkeypatch.setattr(cache, "_make_room", lambda ref: next(answers, True) and make_room(ref))
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
    assert equal(corpus.read([20], NAMES), local.read([20], NAMES))
    assert next(answers, None) is None
    cache.close()


def test_a_copy_without_its_shard_is_fetched_anew(server: RangeServer, local: Corpus, tmp_path: Path):
    cache = ShardCache(tmp_path)
    Corpus.open(f"{server.href}/labelled", cache=cache).read([20], NAMES)
    cache.close()
    (shards,) = tmp_path.glob("*/shards")
    shutil.rmtree(shards)
    cache = ShardCache(tmp_path)
    assert equal(Corpus.open(f"{server.href}/labelled", cache=cache).read([20], NAMES), local.read([20], NAMES))
    cache.close()


@pytest.mark.parametrize("damage", ["flip", "lose", "metadata"])
def test_a_copy_that_was_damaged_in_the_cache_is_fetched_anew(
    server: RangeServer, local: Corpus, tmp_path: Path, damage: str
):
    cache = ShardCache(tmp_path)
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
    corpus.read([20, 3], NAMES)
    cache.close()
    (file,) = tmp_path.glob("*/shards/000001.zarr/s1/c/0/0/0/0")
    if damage == "flip":
        stored = bytearray(file.read_bytes())
        stored[len(stored) // 3] ^= 1
        file.write_bytes(stored)
    elif damage == "lose":
        file.unlink()
    else:
        (file.parents[4] / "zarr.json").unlink()
    cache = ShardCache(tmp_path)
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises((ChecksumError, CorpusError), match=r"000001\.zarr.*run again to fetch it anew"):
        corpus.read(range(16, 32), NAMES)
    assert len(before - {path.name for path in tmp_path.iterdir()}) == 1
    assert equal(corpus.read(range(48), NAMES), local.read(range(48), NAMES))
    cache.close()


def test_two_processes_do_not_share_a_cache(tmp_path: Path):
    cache = ShardCache(tmp_path)
    with pytest.raises(CorpusError, match="another process uses the cache"):
        ShardCache(tmp_path)
    cache.close()
    ShardCache(tmp_path).close()


def test_shards_are_fetched_ahead(server: RangeServer, local: Corpus, tmp_path: Path):
    cache = ShardCache(tmp_path)
    corpus = Corpus.open(f"{server.href}/labelled", cache=cache)
    corpus.prefetch(np.array([0, 40]))
    cache.close()  # waits
    names = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert len(names) == 2
