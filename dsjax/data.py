"""From a corpus to batches on devices.

The host only reads and crops: it sends integers as stored, half the bytes of floats. Everything else happens in jit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float
from numpy.typing import NDArray

from catalog.bands import S1, S1_NODATA, S1_SCALE_DB, S2_10M, S2_20M, S2_SCALE, Band
from catalog.buffers import POOL
from catalog.corpus import Corpus
from catalog.draws import uniform
from catalog.schema import SHARD_ROWS
from catalog.shard_cache import ShardCache
from catalog.stats import BandStatistics
from dsjax.config import Pretrain, ReadConfig
from dsjax.errors import ConfigError
from dsjax.order import reads_by_step

T = TypeVar("T")

_SHARDS_AHEAD = 2  # fetched into a cache while the ones before are trained on


class Batch(NamedTuple, Generic[T]):
    """Pixels of a batch: integers as stored, `batch band y x`; after `decode` reflectance and dB, `batch y x band`."""

    s2_10m: T
    s2_20m: T
    """Half as many rows and columns."""
    s1: T


GROUPS: dict[str, tuple[Band, ...]] = {"s2_10m": S2_10M, "s2_20m": S2_20M, "s1": S1}
"""Bands of each array of a batch: the sensor groups of the stem, in their order."""

SENSORS: tuple[str, ...] = ("sentinel-1", "sentinel-2")


class Inputs(NamedTuple):
    """What an encoder takes: normalised floats `batch y x band`, 0 where invalid, and which groups are there."""

    s2_10m: Float[Array, "batch y x 4"]
    s2_20m: Float[Array, "batch y/2 x/2 8"]
    s1: Float[Array, "batch y x 2"]
    available: Bool[Array, "batch group"]
    """In the order of `GROUPS`."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each band: reflectance and dB. Travels with every model."""

    mean: dict[str, float]
    std: dict[str, float]

    @classmethod
    def of(cls, statistics: BandStatistics) -> "Normalisation":
        """Of every band of a corpus."""
        names = [band.name for bands in GROUPS.values() for band in bands]
        mean, std = statistics.mean(names).tolist(), statistics.std(names).tolist()
        return cls(dict(zip(names, mean, strict=True)), dict(zip(names, std, strict=True)))

    def arrays(self, bands: Sequence[Band]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of these bands, in their order."""
        names = [band.name for band in bands]
        return (
            np.array([self.mean[name] for name in names], np.float32),
            np.array([max(self.std[name], 1e-6) for name in names], np.float32),
        )


class Squares(NamedTuple):
    """Which squares to cut from which patches of a batch, in 10 m pixels, even so that no 20 m pixel is split."""

    patches: NDArray[np.intp]
    """Index into the batch."""
    tops_px: NDArray[np.intp]
    lefts_px: NDArray[np.intp]
    side_px: int

    def at(self, gsd_m: int) -> "Squares":
        """The same ground in pixels of another size."""
        shrink = gsd_m // 10
        return Squares(self.patches, self.tops_px // shrink, self.lefts_px // shrink, self.side_px // shrink)


def cut(pixels: NDArray[Any], squares: Squares) -> NDArray[Any]:
    """Cut squares out of patches, `batch band y x`; whole patches in their order are not copied."""
    side = squares.side_px
    if side == pixels.shape[-1] and np.array_equal(squares.patches, np.arange(len(pixels))):
        return pixels
    out = POOL.empty((len(squares.patches), pixels.shape[1], side, side), pixels.dtype)
    corners = zip(squares.patches, squares.tops_px, squares.lefts_px, strict=True)
    for square, (patch, top, left) in zip(out, corners, strict=True):
        square[...] = pixels[patch, :, top : top + side, left : left + side]
    return out


def cut_batch(stored: dict[str, NDArray[Any]], squares: Squares) -> Batch[NDArray[Any]]:
    """Cut the same ground from every array."""
    fine, coarse = squares, squares.at(20)
    return Batch(cut(stored["s2_10m"], fine), cut(stored["s2_20m"], coarse), cut(stored["s1"], fine))


def random_windows(seed: int, step: int, rows: NDArray[np.intp], side_px: int, room_px: int) -> Squares:
    """One window of each patch of a step, its corner within 0..room_px.

    A corner depends on the seed, the step and the row of the patch only, so any number of processes cuts the same.
    """
    salts = np.random.SeedSequence((seed, step)).generate_state(2, np.uint64) >> np.uint64(2)
    tops, lefts = (2 * np.floor(uniform(rows, int(salt)) * (room_px // 2 + 1)).astype(np.intp) for salt in salts)
    return Squares(np.arange(len(rows)), tops, lefts, side_px)


def open_corpora(config: Pretrain) -> Corpus:
    """The corpus that settings name, or all of them joined; with a cache of remote shards for this process.

    Raises:
        CorpusError: one cannot be opened, or they do not fit each other.
    """
    folder = config.cache and config.cache / f"process-{jax.process_index()}"
    cache = ShardCache(folder, round(config.cache_gb * 1e9)) if folder else None
    corpora = [Corpus.open(href, cache=cache) for href in (config.corpus, *config.more_corpora)]
    return Corpus.join(corpora, config.weights or None) if len(corpora) > 1 else corpora[0]


def training_batches(
    corpus: Corpus, batch_size: int, window_px: int, seed: int, threads: int, read: ReadConfig | None = None
) -> grain.DatasetIterator[Batch[NDArray[Any]]]:
    """Endless host batches of stored integers for this process; the iterator's state resumes it exactly.

    With several crops a read, each batch of patches serves as many steps, one after the other, in other windows.

    Memory: `threads` + 2 batches of windows, times the crops a read, and `threads` batches of whole patches, which are
    the same where a window is a whole patch. A patch of 256 px has 1 MB.

    Raises:
        ConfigError: the window does not fit the patches, or the batch not the corpus.
    """
    room_px, read = corpus.side_px - window_px, read or ReadConfig()
    if room_px < 0:
        raise ConfigError(
            f"a window of {window_px} px (crop and shift) does not fit patches of {corpus.side_px} px; "
            "lower crop_px or augment.shift_px"
        )
    reads = reads_by_step(corpus, batch_size, seed, read, jax.process_index(), jax.process_count())
    reads[0]  # weights that no patch can meet are refused now
    ahead = max(1, _SHARDS_AHEAD * SHARD_ROWS // batch_size)
    crops = read.crops_per_read

    def cut_crops(i: int, rows: NDArray[np.intp]) -> tuple[Batch[NDArray[Any]], ...]:
        if read.access == "shards":
            corpus.prefetch(reads[i + ahead])
        stored = corpus.read(rows, tuple(GROUPS))
        squares = (random_windows(seed, i * crops + crop, rows, window_px, room_px) for crop in range(crops))
        return tuple(cut_batch(stored, square) for square in squares)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1)
    batches = reads.map_with_index(cut_crops).to_iter_dataset(options)
    return iter(grain.experimental.FlatMapIterDataset(batches, _OneByOne()))


class _OneByOne(grain.experimental.FlatMapTransform):  # type: ignore[misc]  # grain is untyped
    """Hands on the crops of a read as batches of their own."""

    max_fan_out = 1 << 16

    def flat_map(self, element: tuple[Batch[NDArray[Any]], ...]) -> tuple[Batch[NDArray[Any]], ...]:
        return element


def to_devices(batch: Batch[NDArray[Any]], sharding: NamedSharding) -> Batch[Array]:
    """The global batch, of which each process holds its part."""
    return jax.tree.map(lambda part: jax.make_array_from_process_local_data(sharding, part), batch)


def decode(batch: Batch[Any]) -> Batch[Array]:
    """Stored integers to reflectance and dB, bands last; NaN where a pixel holds no measurement.

    Here, on the device, and nowhere else the axes change from `batch band y x` to `batch y x band`.
    """

    def physical(stored: Array, nodata: int, scale: float) -> Array:
        values = jnp.where(stored == nodata, jnp.nan, stored.astype(jnp.float32) * scale)
        return jnp.moveaxis(values, 1, -1)

    s2_10m, s2_20m = (physical(stored, 0, S2_SCALE) for stored in (batch.s2_10m, batch.s2_20m))
    return Batch(s2_10m, s2_20m, physical(batch.s1, S1_NODATA, S1_SCALE_DB))


def normalise(
    pixels: Batch[Array], normalisation: Normalisation, keep: Bool[ArrayLike, "batch sensor"] | None = None
) -> Inputs:
    """Standardise each band, 0 where NaN; a group is available where it is kept and has any valid pixel.

    Args:
        keep: sensors to keep, in the order of `SENSORS`; all where None. Where nothing valid would be left, all are.
    """
    has = jnp.stack([jnp.isfinite(values).any(axis=(1, 2, 3)) for values in pixels], axis=1)
    available = has
    if keep is not None:
        keep = jnp.asarray(keep)
        optical, radar = keep[:, SENSORS.index("sentinel-2")], keep[:, SENSORS.index("sentinel-1")]
        kept = has & jnp.stack([optical, optical, radar], axis=1)
        available = jnp.where(kept.any(axis=1, keepdims=True), kept, has)
    s2_10m, s2_20m, s1 = (jnp.nan_to_num(values, nan=0.0) for values in standardise(pixels, normalisation))
    return Inputs(s2_10m, s2_20m, s1, available)


def standardise(pixels: Batch[Array], normalisation: Normalisation) -> Batch[Array]:
    """Mean 0 and standard deviation 1 in each band; NaN stays."""
    groups = zip(pixels, GROUPS.values(), strict=True)
    lines = ((values, *normalisation.arrays(bands)) for values, bands in groups)
    return Batch(*((values - mean) / std for values, mean, std in lines))


def group_mask(sensors: Sequence[str]) -> NDArray[np.bool_]:
    """Which groups of `GROUPS` these sensors fill.

    Raises:
        ConfigError: an unknown sensor, or none.
    """
    if isinstance(sensors, str) or not sensors or set(sensors) - set(SENSORS):
        raise ConfigError(f"sensors {sensors!r}: take a list of one or both of {', '.join(SENSORS)}")
    return np.array([bands[0].sensor in sensors for bands in GROUPS.values()])
