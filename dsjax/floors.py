"""What a pre-trained encoder is compared with: the same encoder before training, and plain image statistics."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from catalog.corpus import Corpus
from dsjax.checkpoints import TrainedEncoder
from dsjax.crops import CropFunction, crop_batches, embedding_function, prepare
from dsjax.data import Batch, Inputs, Normalisation, decode, group_mask, standardise
from dsjax.models.resnet import ResNet

_CALIBRATION_BATCHES = 8
_CALIBRATION_PASSES = 4  # of a running mean with momentum 0.9: 0.9 ** 32 = 3 % of the start is left


def crop_functions(
    trained: TrainedEncoder, corpus: Corpus, crop_px: int, sensors: Sequence[str]
) -> dict[str, CropFunction]:
    """The pre-trained encoder and its floors, by name, for crops of these sensors.

    An untrained network has no batch statistics of its own: it gets those of unlabelled crops of the corpus.
    """
    batches = tuple(islice(crop_batches(corpus, crop_px), _CALIBRATION_BATCHES))
    inputs = [prepare(batch, trained.normalisation, sensors) for batch in batches]
    random = calibrate(ResNet(trained.config.encoder, rngs=nnx.Rngs(trained.config.seed)), inputs)
    return {
        "pretrained": embedding_function(trained.encoder, trained.normalisation, sensors),
        "random": embedding_function(random, trained.normalisation, sensors),
        "statistics": jax.jit(lambda batch: image_statistics(batch, trained.normalisation, sensors)),
    }


def calibrate(encoder: nnx.Module, batches: Sequence[Inputs]) -> nnx.Module:
    """The same encoder with batch statistics of these batches; parameters stay as they are."""
    graphdef, params, rest = nnx.split(encoder, nnx.Param, ...)  # type: ignore[misc]
    weights, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    @jax.jit
    def pass_once(stats: Any, inputs: Inputs) -> Any:
        model = nnx.merge(graphdef, weights, stats)
        model(inputs, train=True)
        return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    for _ in range(_CALIBRATION_PASSES):
        for inputs in batches:
            stats = pass_once(stats, inputs)
    return nnx.merge(graphdef, weights, stats)


def image_statistics(
    batch: Batch[Any], normalisation: Normalisation, sensors: Sequence[str]
) -> Float[Array, "batch dim"]:
    """Mean and standard deviation of each standardised band over its valid pixels; zeros for what is missing.

    Args:
        batch: stored integers.
    """
    parts = []
    for is_kept, x in zip(group_mask(sensors), standardise(decode(batch), normalisation), strict=True):
        found = jnp.concatenate([jnp.nanmean(x, (1, 2)), jnp.nanstd(x, (1, 2))], axis=1)
        parts.append(jnp.where(is_kept, jnp.nan_to_num(found, nan=0.0), 0.0))
    return jnp.concatenate(parts, axis=1)
