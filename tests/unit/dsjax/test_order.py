"""In which order patches are read: every one once an epoch, well mixed, the same for any number of processes."""

from collections import Counter
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy.stats import chi2

from catalog.corpus import Corpus
from dsjax.config import ReadConfig
from dsjax.data import GROUPS, random_windows, training_batches
from dsjax.errors import ConfigError
from dsjax.order import draw_weighted, reads_by_step, shard_buffered

SHARDS, SHARD_ROWS, BATCH, BUFFER = 24, 64, 32, 6
SHARD_OF_ROW = np.arange(SHARDS).repeat(SHARD_ROWS)
BUFFERED = ReadConfig("shards", buffer_shards=BUFFER)


class Rows(SimpleNamespace):
    """As much of a corpus as the order depends on."""

    def __len__(self) -> int:
        return len(self.shard_of_row)


PLAIN = Rows(shard_of_row=SHARD_OF_ROW, collection_of_row=np.zeros(len(SHARD_OF_ROW), int), weights=None)


def epoch(read: ReadConfig, seed: int = 0, number: int = 0, corpus: Rows = PLAIN) -> np.ndarray:
    """Rows of an epoch, a batch a line."""
    reads, steps = reads_by_step(corpus, BATCH, seed, read), len(corpus) // BATCH
    return np.stack([reads[number * steps + i] for i in range(steps)])


def counts_of(order: np.ndarray) -> np.ndarray:
    """Rows of each shard in each batch."""
    return np.stack([np.bincount(SHARD_OF_ROW[batch], minlength=SHARDS) for batch in order.reshape(-1, BATCH)])


def is_as_by_chance(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Chi-square test: neither less even than chance nor more, each with one error in 1,000."""
    used = expected > 0.5
    if counts[expected == 0].sum() > 0.01 * counts.sum():  # a few at the edges, for a batch is cut by rank, not by time
        return False
    statistic = (np.square(counts - expected)[used] / expected[used]).sum()
    freedom = used.sum() - len(counts) - SHARDS + 1  # batches and shards have their sizes
    return 1e-3 < chi2.cdf(statistic, freedom) < 1 - 1e-3


def expected_of_buffer(place: np.ndarray) -> np.ndarray:
    """Rows of each shard that each batch of a buffered order holds on average.

    A shard is in use for as long as `BUFFER` shards take; those at the beginning and at the end all together.
    """
    begin = np.where(place < BUFFER, 0.0, place)
    end = np.where(place >= SHARDS - BUFFER, SHARDS + BUFFER - 1.0, place + BUFFER)
    times = np.linspace(0, SHARDS + BUFFER - 1, 20_001)
    done = SHARD_ROWS * np.clip((times[:, None] - begin) / (end - begin), 0, 1)
    edges = np.interp(np.arange(0, SHARDS * SHARD_ROWS + 1, BATCH), done.sum(axis=1), times)
    return np.diff(np.stack([np.interp(edges, times, column) for column in done.T], axis=1), axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_uniform_batches_mix_all_shards(seed: int):
    counts = counts_of(epoch(ReadConfig(), seed))
    assert is_as_by_chance(counts, np.full_like(counts, BATCH / SHARDS, dtype=float))


@pytest.mark.parametrize("seed", range(5))
def test_buffered_batches_mix_the_shards_of_the_buffer(seed: int):
    place = np.random.default_rng(seed).permutation(SHARDS)  # the first thing drawn
    order = shard_buffered(SHARD_OF_ROW, BUFFER, np.random.default_rng(seed))
    assert is_as_by_chance(counts_of(order), expected_of_buffer(place))


@pytest.mark.parametrize("kind", ["smaller", "rows in turn", "windows"])
def test_the_test_of_mixing_finds_bad_buffers(kind: str):
    rng = np.random.default_rng(0)
    place = rng.permutation(SHARDS)
    in_order = np.argsort(place[SHARD_OF_ROW], kind="stable")
    bad = {
        "smaller": lambda: shard_buffered(SHARD_OF_ROW, BUFFER - 2, np.random.default_rng(0)),
        "rows in turn": lambda: in_order.reshape(-1, BUFFER, SHARD_ROWS).swapaxes(1, 2).ravel(),
        "windows": lambda: rng.permuted(in_order.reshape(-1, BUFFER * SHARD_ROWS), axis=1).ravel(),
    }
    assert not is_as_by_chance(counts_of(bad[kind]()), expected_of_buffer(place))
    assert not is_as_by_chance(counts_of(bad[kind]()), np.full((len(place) * 2, SHARDS), BATCH / SHARDS))


@pytest.mark.parametrize("read", [ReadConfig(), BUFFERED])
def test_every_row_is_read_once_an_epoch_and_each_epoch_in_another_order(read: ReadConfig):
    first, second = (epoch(read, number=number).ravel() for number in (0, 1))
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order), np.arange(len(SHARD_OF_ROW)))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, epoch(read).ravel())
    assert not np.array_equal(first, epoch(read, seed=1).ravel())


@pytest.mark.parametrize("buffer_shards", [1, 2, 5, 16, 23, 24, 40])
def test_no_more_shards_are_in_use_than_the_buffer_holds(buffer_shards: int):
    shards = SHARD_OF_ROW[shard_buffered(SHARD_OF_ROW, buffer_shards, np.random.default_rng(3))]
    first = np.array([np.flatnonzero(shards == shard)[0] for shard in range(SHARDS)])
    last = np.array([np.flatnonzero(shards == shard)[-1] for shard in range(SHARDS)])
    in_use = [(np.count_nonzero((first <= i) & (last >= i))) for i in range(len(shards))]
    assert max(in_use) <= buffer_shards
    assert max(in_use) >= min(buffer_shards, SHARDS) - 1


@pytest.mark.parametrize("read", [ReadConfig(), BUFFERED])
def test_any_number_of_processes_reads_the_same_batches(read: ReadConfig):
    alone = reads_by_step(PLAIN, BATCH, 7, read)
    shared = [reads_by_step(PLAIN, BATCH, 7, read, process, 4) for process in range(4)]
    for step in (0, 1, 47, 48, 500):
        parts = [part[step] for part in shared]
        assert Counter(np.concatenate(parts).tolist()) == Counter(alone[step].tolist())


@pytest.mark.parametrize("access", ["uniform", "shards"])
def test_weights_decide_the_share_of_each_collection(access: str):
    collection = (SHARD_OF_ROW >= 18).astype(int)
    corpus = Rows(shard_of_row=SHARD_OF_ROW, collection_of_row=collection, weights=(1.0, 3.0))
    order = epoch(ReadConfig(access), corpus=corpus).ravel()
    assert np.bincount(collection[order]).tolist() == [len(order) // 4, 3 * len(order) // 4]
    times = np.bincount(order, minlength=len(order))
    assert set(times[collection == 0]) <= {0, 1}
    assert set(times[collection == 1]) == {3}


@pytest.mark.parametrize("seed", range(3))
def test_no_patch_is_its_own_negative_where_a_small_collection_is_read_often(seed: int):
    rows, batch = 10_000, 512
    collection = (np.arange(rows) >= 9000).astype(int)
    order = draw_weighted(collection, (1.0, 1.0), np.random.default_rng(seed))
    batches = order[: rows // batch * batch].reshape(-1, batch)
    assert [len(set(batch.tolist())) for batch in batches] == [batch] * len(batches)
    assert np.bincount(order[collection[order] == 1])[9000:].tolist() == [5] * 1000
    shares = collection[batches].mean(axis=1)
    assert np.abs(shares - 0.5).max() < 0.1
    assert (np.diff(order) < 0).mean() > 0.3  # not in the order of the corpus


def test_a_weight_without_patches_is_refused_before_the_first_batch(corpus_href: str):
    joined = Corpus.join([Corpus.open(corpus_href), Corpus.open(corpus_href)], (1.0, 1.0))
    with pytest.raises(ConfigError, match="collection 1"):
        training_batches(joined.select(np.arange(len(joined) // 2)), 8, 32, 0, 1)


def test_a_weight_without_patches_is_refused():
    with pytest.raises(ConfigError, match="collection 1"):
        draw_weighted(np.zeros(10, int), (1.0, 1.0), np.random.default_rng(0))


@pytest.mark.parametrize("read", [BUFFERED, ReadConfig("shards", crops_per_read=3), ReadConfig(crops_per_read=2)])
def test_training_resumes_bit_by_bit_under_any_settings(corpus_href: str, read: ReadConfig):
    corpus = Corpus.open(corpus_href)
    loader = training_batches(corpus, 8, 32, 0, 2, read)
    for _ in range(5):
        next(loader)
    state, expected = loader.get_state(), [next(loader) for _ in range(9)]
    resumed = training_batches(corpus, 8, 32, 0, 1, read)
    resumed.set_state(state)
    jax.tree.map(np.testing.assert_array_equal, expected, [next(resumed) for _ in range(9)])


def test_each_read_serves_several_steps_with_other_windows(corpus_href: str):
    corpus, read = Corpus.open(corpus_href), ReadConfig(crops_per_read=3)
    batches = training_batches(corpus, 4, 32, 5, 1, read)
    reads = reads_by_step(corpus, 4, 5, read)
    for step in range(7):
        batch, rows = next(batches), reads[step // 3]
        windows = random_windows(5, step, rows, 32, corpus.side_px - 32)
        stored = corpus.read(rows, tuple(GROUPS))["s1"]
        for i, (top, left) in enumerate(zip(windows.tops_px, windows.lefts_px, strict=True)):
            np.testing.assert_array_equal(batch.s1[i], stored[i][:, top : top + 32, left : left + 32])


@pytest.mark.parametrize("name", ["buffer_shards", "crops_per_read"])
def test_settings_of_reading_must_be_positive(name: str):
    with pytest.raises(ConfigError, match=f"read.{name} is 0"):
        ReadConfig(**{name: 0}).check()
