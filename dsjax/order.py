"""Which patches each step reads: pure functions of the seed, so that every process agrees and any step can resume."""

import functools
import sys
from typing import Any

import grain
import numpy as np
from numpy.typing import NDArray

from catalog.corpus import Corpus
from dsjax.config import ReadConfig
from dsjax.errors import ConfigError

_Rows = NDArray[np.intp]


def rows_by_step(
    corpus_rows: int, batch_size: int, seed: int, process: int = 0, processes: int = 1
) -> grain.MapDataset[_Rows]:
    """Rows that this process reads at each step: shuffled anew each epoch, never twice in a batch.

    All processes together read the same rows at a step, whatever their number.

    Raises:
        ConfigError: the batch does not fit the corpus or the processes.
    """
    whole = _whole_batches(corpus_rows, batch_size, processes)
    shuffled = grain.MapDataset.range(corpus_rows).shuffle(seed=seed)[:whole]
    return shuffled.batch(batch_size, batch_fn=np.array).map(lambda rows: own_rows(rows, process, processes)).repeat()


def reads_by_step(
    corpus: Corpus, batch_size: int, seed: int, read: ReadConfig, process: int = 0, processes: int = 1
) -> grain.MapDataset[_Rows]:
    """The same as settings say: uniformly or shard by shard, and by the weights of a corpus' collections.

    An epoch is as many rows as the corpus has, less what fills no batch. Without weights each is read once; with
    weights a collection with more than its part is read in part, and one with less several times.

    Raises:
        ConfigError: the batch does not fit the corpus or the processes.
    """
    if read.access == "uniform" and corpus.weights is None:
        return rows_by_step(len(corpus), batch_size, seed, process, processes)
    steps = _whole_batches(len(corpus), batch_size, processes) // batch_size

    @functools.lru_cache(maxsize=2)  # two epochs are read at once where one ends
    def order_of(epoch: int) -> _Rows:
        return epoch_order(corpus, np.random.default_rng((seed, epoch)), read)

    def rows_of(step: int) -> _Rows:
        epoch, i = divmod(step, steps)
        return own_rows(order_of(epoch)[i * batch_size : (i + 1) * batch_size], process, processes)

    return grain.MapDataset.range(sys.maxsize).map(rows_of)


def own_rows(rows: _Rows, process: int, processes: int) -> _Rows:
    """The rows of a batch that a process reads: a run of them, because its devices hold a run of the global batch.

    So every patch has the same place in the batch, and the same random views, whatever the number of processes.
    """
    return np.split(rows, processes)[process]


def epoch_order(corpus: Corpus, rng: np.random.Generator, read: ReadConfig) -> _Rows:
    """The rows of one epoch, in order."""
    if corpus.weights is not None:
        rows = draw_weighted(corpus.collection_of_row, corpus.weights, rng)
    else:
        rows = rng.permutation(len(corpus)) if read.access == "uniform" else np.arange(len(corpus))
    if read.access == "uniform":
        return rows
    return rows[shard_buffered(corpus.shard_of_row[rows], read.buffer_shards, rng)]


def draw_weighted(
    collection_of_row: NDArray[np.integer[Any]], weights: tuple[float, ...], rng: np.random.Generator
) -> _Rows:
    """As many rows as there are, each collection's share in proportion to its weight; within it all rows alike.

    Every collection is spread evenly and goes by in one random order, from the start again where its rows are too few:
    all others of its collection lie between two drawings of a row, for in one batch a patch would be its own negative.
    """
    total = len(collection_of_row)
    bounds = np.rint(total * np.cumsum([0.0, *weights]) / sum(weights)).astype(int)
    drawn, places = [], []
    for collection, count in enumerate(np.diff(bounds).tolist()):
        mine = np.flatnonzero(collection_of_row == collection)
        if count and not len(mine):
            raise ConfigError(f"collection {collection} of the corpora has a weight but no patch to train on")
        drawn.append(np.resize(rng.permutation(mine), count))
        places.append((np.arange(count) + rng.random(count)) / max(1, count))
    return np.concatenate(drawn)[np.argsort(np.concatenate(places), kind="stable")]


def shard_buffered(shard_of_row: NDArray[np.integer[Any]], buffer_shards: int, rng: np.random.Generator) -> _Rows:
    """An order of rows in which, at any time, rows of at most `buffer_shards` shards (and one more) are in use.

    Shards come in random order. The rows of one are spread evenly over the time in which `buffer_shards` shards pass
    by, so that a batch mixes that many; the first ones begin together and the last ones end together.

    Args:
        shard_of_row: 0, 1, 2 and so on.
    """
    shards = int(shard_of_row.max()) + 1
    place = rng.permutation(shards)[shard_of_row].astype(np.float64)
    begin = np.where(place < buffer_shards, 0.0, place)
    end = np.where(place >= shards - buffer_shards, shards + buffer_shards - 1.0, place + buffer_shards)
    return np.argsort(begin + (end - begin) * rng.random(len(place)), kind="stable")


def _whole_batches(corpus_rows: int, batch_size: int, processes: int) -> int:
    """Rows of an epoch that fill batches."""
    if batch_size > corpus_rows:
        raise ConfigError(f"batch_size is {batch_size} but the corpus has {corpus_rows} patches to train on; lower it")
    if batch_size % processes:
        raise ConfigError(f"batch_size {batch_size} is not divisible by {processes} processes")
    return corpus_rows - corpus_rows % batch_size
