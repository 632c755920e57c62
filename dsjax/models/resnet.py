"""ResNet-18 and ResNet-50 (He et al. 2015, table 1), and half a ResNet-18, behind the sensor-fusion stem."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dsjax.config import EncoderConfig
from dsjax.data import Inputs
from dsjax.models.layers import conv, max_pool, norm, relu
from dsjax.models.stem import Features, FusionStem

# He et al. 2015, table 1; resnet10 is ours
_BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nnx.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2015, figure 5 left)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(inputs, width, 3, stride, dtype=dtype, rngs=rngs)
        self.norm1 = norm(width, dtype=dtype, rngs=rngs)
        self.conv2 = conv(width, width, 3, dtype=dtype, rngs=rngs)
        self.norm2 = norm(width, dtype=dtype, rngs=rngs)
        self.shortcut = Shortcut(inputs, width, stride, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch y x c"], *, train: bool) -> Float[Array, "batch y x c"]:
        """Add what two convolutions change to the input."""
        y = relu(self.norm1(self.conv1(x), use_running_average=not train))
        y = self.norm2(self.conv2(y), use_running_average=not train)
        return relu(y + self.shortcut(x, train=train))


class Bottleneck(nnx.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut (He et al. 2015, figure 5 right)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(inputs, width, 1, dtype=dtype, rngs=rngs)
        self.norm1 = norm(width, dtype=dtype, rngs=rngs)
        self.conv2 = conv(width, width, 3, stride, dtype=dtype, rngs=rngs)
        self.norm2 = norm(width, dtype=dtype, rngs=rngs)
        self.conv3 = conv(width, 4 * width, 1, dtype=dtype, rngs=rngs)
        self.norm3 = norm(4 * width, dtype=dtype, rngs=rngs)
        self.shortcut = Shortcut(inputs, 4 * width, stride, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch y x c"], *, train: bool) -> Float[Array, "batch y x c"]:
        """Add what three convolutions change to the input."""
        y = relu(self.norm1(self.conv1(x), use_running_average=not train))
        y = relu(self.norm2(self.conv2(y), use_running_average=not train))
        y = self.norm3(self.conv3(y), use_running_average=not train)
        return relu(y + self.shortcut(x, train=train))


class Shortcut(nnx.Module):
    """The identity, or a 1 x 1 projection where the shape changes (He et al. 2015, option B)."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        projects = stride != 1 or inputs != outputs
        self.conv = conv(inputs, outputs, 1, stride, dtype=dtype, rngs=rngs) if projects else None
        self.norm = norm(outputs, dtype=dtype, rngs=rngs) if projects else None

    def __call__(self, x: Float[Array, "batch y x c"], *, train: bool) -> Float[Array, "batch y x c"]:
        """The input in the shape of the block's output."""
        if self.conv is None or self.norm is None:
            return x
        return self.norm(self.conv(x), use_running_average=not train)


class Trunk(nnx.Module):
    """The four stages after the stem; each halves the grid, the first does not."""

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], blocks: tuple[int, ...], widths: tuple[int, ...],
        *, dtype: jnp.dtype, rngs: nnx.Rngs,
    ) -> None:  # fmt: skip
        inputs, stages = widths[0], []
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            made = []
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                made.append(block(inputs, width, stride, dtype=dtype, rngs=rngs))
                inputs = width * block.expansion
            stages.append(nnx.List(made))
        self.stages = nnx.List(stages)

    def __call__(self, x: Float[Array, "batch y x c"], *, train: bool) -> tuple[Float[Array, "batch y x c"], ...]:
        """The output of every stage."""
        pyramid = []
        for stage in self.stages:
            for block in stage:
                x = block(x, train=train)
            pyramid.append(x)
        return tuple(pyramid)


class ResNet(nnx.Module):
    """A ResNet on any subset of sensors; its embedding is the mean of every feature map, fine to coarse.

    Fine maps keep what a place reflects, coarse ones how it is laid out: land cover needs both.

    The stem works at 20 m, where the published network has already halved its input once; its max-pooling follows.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
        block = Bottleneck if config.name == "resnet50" else BasicBlock
        widths = tuple(round(width * config.width) for width in _WIDTHS)
        dtype = jnp.dtype(config.dtype)
        self.stem = FusionStem(widths[0], dtype=dtype, rngs=rngs)
        self.norm = norm(widths[0], dtype=dtype, rngs=rngs)
        self.trunk = Trunk(block, _BLOCKS[config.name], widths, dtype=dtype, rngs=rngs)
        self.dim = sum(widths) * block.expansion

    def __call__(self, inputs: Inputs, *, train: bool = False) -> Features:
        """Feature maps at 40, 80, 160 and 320 m, and an embedding in float32."""
        x = relu(self.norm(self.stem(inputs), use_running_average=not train))
        x = max_pool(x)
        pyramid = self.trunk(x, train=train)
        means = [level.astype(jnp.float32).mean(axis=(1, 2)) for level in pyramid]
        return Features(pyramid, jnp.concatenate(means, axis=1))
