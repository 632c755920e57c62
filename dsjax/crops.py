"""Crops of the patches of a corpus, and what a trained encoder makes of each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array
from numpy.typing import NDArray

from catalog.corpus import Corpus
from dsjax.checkpoints import TrainedEncoder
from dsjax.data import GROUPS, SENSORS, Batch, Inputs, Normalisation, Squares, cut_batch, decode, group_mask, normalise
from dsjax.errors import ConfigError

PATCHES_AT_ONCE = 16

CropFunction = Callable[[Batch[Any]], Array]
"""From stored integers of a batch of crops to one vector a crop."""


def embed(
    trained: TrainedEncoder, corpus: Corpus, sensors: Sequence[str] = SENSORS, crop_px: int | None = None
) -> NDArray[np.float32]:
    """Embeddings of every patch, cut into a grid of crops: `patch row column dim`, rows from the north.

    Args:
        sensors: which sensors the encoder may see.
        crop_px: side of a crop, 10 m pixels; as in training where None.

    Raises:
        ConfigError: crops do not fit the patches, or unknown sensors.
    """
    function = embedding_function(trained.encoder, trained.normalisation, sensors)
    return map_crops(function, corpus, crop_px or trained.config.crop_px)


def embedding_function(encoder: nnx.Module, normalisation: Normalisation, sensors: Sequence[str]) -> CropFunction:
    """The compiled embedding of crops from these sensors, batch statistics frozen."""
    graphdef, state = nnx.split(encoder)
    weights = nnx.to_pure_dict(state)

    @jax.jit
    def forward(weights: Any, batch: Batch[Array]) -> Array:
        return nnx.merge(graphdef, weights)(prepare(batch, normalisation, sensors), train=False).embedding

    return lambda batch: forward(weights, batch)


def prepare(batch: Batch[Any], normalisation: Normalisation, sensors: Sequence[str]) -> Inputs:
    """Encoder inputs of stored integers, with these sensors only: none where they hold no valid pixel.

    Raises:
        ConfigError: an unknown sensor, or none.
    """
    inputs = normalise(decode(batch), normalisation)
    return inputs._replace(available=inputs.available & group_mask(sensors))


def map_crops(function: CropFunction, corpus: Corpus, crop_px: int) -> NDArray[np.float32]:
    """`function` of every crop of every patch: `patch row column dim`."""
    side = crops_a_side(corpus, crop_px)
    parts = [found for _, found in mapped_batches(function, corpus, crop_px)]
    return np.concatenate(parts)[: len(corpus) * side * side].reshape(len(corpus), side, side, -1)


def mapped_batches(
    function: CropFunction, corpus: Corpus, crop_px: int
) -> Iterator[tuple[Batch[NDArray[Any]], NDArray[Any]]]:
    """Each batch of `crop_batches` and `function` of it; the next one is read while the device computes."""
    before: tuple[Batch[NDArray[Any]], Array] | None = None
    for batch in crop_batches(corpus, crop_px):
        begun = batch, function(batch)
        if before is not None:
            yield before[0], np.asarray(before[1])
        before = begun
    if before is not None:
        yield before[0], np.asarray(before[1])


def crops_a_side(corpus: Corpus, crop_px: int) -> int:
    """How many crops fit side by side.

    Raises:
        ConfigError: none, or crops that would split a 20 m pixel.
    """
    if crop_px % 2 or not 0 < crop_px <= corpus.side_px:
        raise ConfigError(f"crop_px {crop_px}: take an even number up to the patch side of {corpus.side_px} px")
    return corpus.side_px // crop_px


def crop_batches(corpus: Corpus, crop_px: int) -> Iterator[Batch[NDArray[Any]]]:
    """Host batches of all crops in order, all of one size: the last repeats its last patch."""
    side = crops_a_side(corpus, crop_px)
    tops, lefts = (corner.ravel() * crop_px for corner in np.indices((side, side)))
    at_once = min(PATCHES_AT_ONCE, len(corpus))
    squares = Squares(np.arange(at_once).repeat(side * side), np.tile(tops, at_once), np.tile(lefts, at_once), crop_px)
    for start in range(0, len(corpus), at_once):
        rows = np.minimum(np.arange(start, start + at_once), len(corpus) - 1)
        yield cut_batch(corpus.read(rows, tuple(GROUPS)), squares)
