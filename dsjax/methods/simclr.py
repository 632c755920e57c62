"""SimCLR on two sensors: views of one place attract, across sensors too; all other places repel (Chen et al. 2020)."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from dsjax.augment import choose_sensors, ramp, random_view
from dsjax.config import Pretrain
from dsjax.data import Batch, Inputs, Normalisation, decode, normalise
from dsjax.losses import nt_xent, spread
from dsjax.models.heads import ProjectionHead
from dsjax.models.resnet import ResNet
from dsjax.step import Method


class SimCLR(nnx.Module):
    """An encoder and the projection that is thrown away after pre-training."""

    def __init__(self, config: Pretrain, *, rngs: nnx.Rngs) -> None:
        self.encoder = ResNet(config.encoder, rngs=rngs)
        self.projector = ProjectionHead(
            self.encoder.dim, config.method.hidden_dim, config.method.projection_dim, rngs=rngs
        )


def views(
    key: PRNGKeyArray,
    progress: Float[Array, ""] | float,
    windows: Batch[Array],
    config: Pretrain,
    normalisation: Normalisation,
) -> tuple[Inputs, Inputs]:
    """Two random views of each window, each of one or both sensors.

    Args:
        progress: share of the run that is done, 0..1; augmentation grows with it.
        windows: stored integers, `config.window_px` wide.
    """
    first_key, second_key, sensor_key = jax.random.split(key, 3)
    pixels = decode(windows)
    keep = choose_sensors(
        sensor_key,
        pixels.s1.shape[0],
        ramp(config.augment.sensor_dropout, progress),
        config.method.cross_sensor,
    )
    first, second = (
        normalise(random_view(key, pixels, config.crop_px, config.augment, progress), normalisation, kept)
        for key, kept in zip((first_key, second_key), keep, strict=True)
    )
    return first, second


def represent(
    model: SimCLR, pair: tuple[Inputs, Inputs]
) -> tuple[Float[Array, "batch 2 dim"], Float[Array, "batch 2 out"]]:
    """Embeddings and projections of both views of each patch."""
    # The views of a patch stand side by side, so a sharded batch stays where it is and both share batch statistics.
    inputs = jax.tree.map(lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:]), *pair)
    embedding = model.encoder(inputs, train=True).embedding
    projection = model.projector(embedding, train=True)
    return embedding.reshape(-1, 2, embedding.shape[-1]), projection.reshape(-1, 2, projection.shape[-1])


def objective(
    represented: tuple[Float[Array, "batch 2 dim"], Float[Array, "batch 2 out"]], temperature: float
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """NT-Xent of the projections, and how much embeddings and projections are spread (0 is collapse)."""
    embedding, projection = represented
    value = nt_xent(projection[:, 0], projection[:, 1], temperature)
    return value, {"embedding_spread": spread(embedding[:, 0]), "projection_spread": spread(projection[:, 0])}


def method(config: Pretrain, normalisation: Normalisation) -> Method:
    """SimCLR with these settings, as the step factory takes it."""
    return Method(
        partial(views, config=config, normalisation=normalisation),
        represent,
        partial(objective, temperature=config.method.temperature),
    )
