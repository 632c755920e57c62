import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from catalog.bands import S1_NODATA
from dsjax.config import EncoderConfig
from dsjax.data import GROUPS, Batch, Inputs, Normalisation, decode, normalise
from dsjax.models.heads import ProjectionHead
from dsjax.models.resnet import BasicBlock, Bottleneck, ResNet, Trunk
from dsjax.models.stem import FusionStem
from dsjax.state import count, split_model

FLOAT32 = jnp.dtype("float32")
ALL, ONLY_S1, ONLY_S2 = (True, True, True), (False, False, True), (True, True, False)


def inputs(available=ALL, patches: int = 2, side: int = 32, seed: int = 0) -> Inputs:
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = ((side, side, 4), (side // 2, side // 2, 8), (side, side, 2))
    images = (jax.random.normal(key, (patches, *shape)) for key, shape in zip(keys, shapes, strict=True))
    return Inputs(*images, jnp.tile(jnp.array(available), (patches, 1)))


def parameters_of(build) -> int:
    return count(split_model(nnx.eval_shape(build))[1])


@pytest.mark.parametrize(
    "block, blocks, published, stem",
    [
        (BasicBlock, (2, 2, 2, 2), 11_176_512, 7 * 7 * 3 * 64 + 2 * 64),  # ResNet-18 without its classifier
        (Bottleneck, (3, 4, 6, 3), 23_508_032, 7 * 7 * 3 * 64 + 2 * 64),  # ResNet-50 without its classifier
    ],
)
def test_the_trunk_has_as_many_parameters_as_published(block, blocks, published, stem):
    found = parameters_of(lambda: Trunk(block, blocks, (64, 128, 256, 512), dtype=FLOAT32, rngs=nnx.Rngs(0)))
    assert found == published - stem


def test_the_stem_has_one_convolution_a_group_and_one_token():
    found = parameters_of(lambda: FusionStem(16, dtype=FLOAT32, rngs=nnx.Rngs(0)))
    assert found == 16 * (6 * 6 * 4 + 3 * 3 * 8 + 6 * 6 * 2 + 3 + 3)


@pytest.mark.parametrize("available, hidden", [(ONLY_S1, ("s2_10m", "s2_20m")), (ONLY_S2, ("s1",))])
def test_pixels_of_a_missing_sensor_cannot_reach_the_embedding(available, hidden):
    encoder = ResNet(EncoderConfig("resnet10", width=0.125), rngs=nnx.Rngs(0))
    before = inputs(available)
    other = inputs(available, seed=1)
    after = before._replace(**{name: getattr(other, name) for name in hidden})
    for train in (False, True):
        one, two = (encoder(x, train=train) for x in (before, after))
        np.testing.assert_array_equal(one.embedding, two.embedding)
    visible = next(name for name in GROUPS if name not in hidden)
    changed = encoder(before._replace(**{visible: getattr(other, visible)}))
    assert not np.array_equal(changed.embedding, encoder(before).embedding)


def test_a_missing_sensor_is_told_from_one_that_reads_the_mean():
    encoder = ResNet(EncoderConfig("resnet10", width=0.125), rngs=nnx.Rngs(0))
    flat = inputs()._replace(s1=jnp.zeros((2, 32, 32, 2)))
    missing = flat._replace(available=jnp.tile(jnp.array(ONLY_S2), (2, 1)))
    assert not np.allclose(encoder(flat).embedding, encoder(missing).embedding)


def test_tokens_learn():
    stem = FusionStem(8, dtype=FLOAT32, rngs=nnx.Rngs(0))
    graphdef, params, _ = split_model(stem)
    gradient = jax.grad(lambda p: jnp.sum(nnx.merge(graphdef, p, {})(inputs(ONLY_S2))))(params)["absent"]
    pixels = 2 * 16 * 16
    np.testing.assert_allclose(gradient, np.array([[0.0], [0.0], [pixels]]) * np.ones(8))


@pytest.mark.parametrize("available", [(True, True, True), ONLY_S2, (False, False, True)])
def test_the_stem_is_the_sum_of_its_convolutions(available):
    stem = FusionStem(8, dtype=FLOAT32, rngs=nnx.Rngs(0))
    for i, conv in enumerate(stem.convs):
        conv.bias.set_value(jnp.arange(8.0) - i)
    given = inputs(available)
    expected = sum(
        conv(image) if there else stem.absent[i]
        for i, (conv, image, there) in enumerate(zip(stem.convs, given[:-1], available, strict=True))
    )
    np.testing.assert_allclose(stem(given), expected, atol=1e-5)


@pytest.mark.parametrize("group", GROUPS)
def test_pixels_of_a_missing_group_that_are_not_numbers_reach_nothing(group):
    stem = FusionStem(4, dtype=FLOAT32, rngs=nnx.Rngs(0))
    graphdef, params, _ = split_model(stem)
    given = inputs(tuple(name != group for name in GROUPS))
    given = given._replace(**{group: jnp.full_like(getattr(given, group), jnp.nan)})
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(nnx.merge(graphdef, p, {})(given) ** 2))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))


def test_the_stem_lines_up_10_m_and_20_m_pixels():
    """A blob in one 20 m pixel moves every group's response by the same pixels."""
    stem = FusionStem(4, dtype=FLOAT32, rngs=nnx.Rngs(0))
    for conv in stem.convs:
        conv.kernel.set_value(jnp.ones_like(conv.kernel.get_value()))
    for group, shrink in (("s2_10m", 1), ("s2_20m", 2), ("s1", 1)):
        images = {name: jnp.zeros_like(x) for name, x in inputs(patches=1)._asdict().items() if name in GROUPS}
        rows = slice(20 // shrink, 22 // shrink)
        images[group] = images[group].at[0, rows, rows].set(1.0)
        response = stem(Inputs(**images, available=jnp.ones((1, 3), bool)))[0, :, :, 0]
        touched = np.argwhere(response > 0)
        assert touched.min(0).tolist() == [9, 9]
        assert touched.max(0).tolist() == [11, 11]


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """SAME convolution by loops: `y x c` and `y x in out`, zeros around."""
    size = kernel.shape[0]
    out_side = -(-x.shape[0] // stride)
    pad = max((out_side - 1) * stride + size - x.shape[0], 0)
    x = np.pad(x, ((pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)))
    out = np.zeros((out_side, out_side, kernel.shape[-1]))
    for row in range(out_side):
        for column in range(out_side):
            window = x[row * stride : row * stride + size, column * stride : column * stride + size]
            out[row, column] = np.tensordot(window, kernel, axes=3)
    return out


def normalised(x: np.ndarray) -> np.ndarray:
    """Batch normalisation of `batch y x c` with fresh scale and bias."""
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_basic_block_is_what_the_paper_draws(stride):
    block = BasicBlock(4, 6, stride, dtype=FLOAT32, rngs=nnx.Rngs(3))
    x = np.asarray(jax.random.normal(jax.random.key(4), (2, 6, 6, 4)), np.float64)
    kernels = [np.asarray(conv.kernel[...], np.float64) for conv in (block.conv1, block.conv2, block.shortcut.conv)]

    def layer(x, kernel, stride):
        return normalised(np.stack([convolve(image, kernel, stride) for image in x]))

    y = layer(np.maximum(layer(x, kernels[0], stride), 0), kernels[1], 1)
    expected = np.maximum(y + layer(x, kernels[2], stride), 0)
    np.testing.assert_allclose(block(jnp.asarray(x, jnp.float32), train=True), expected, atol=2e-5)


def test_features_halve_their_grid_from_stage_to_stage():
    encoder = ResNet(EncoderConfig("resnet10", width=0.125), rngs=nnx.Rngs(0))
    features = encoder(inputs(side=64))
    assert [level.shape[1:] for level in features.pyramid] == [(16, 16, 8), (8, 8, 16), (4, 4, 32), (2, 2, 64)]
    np.testing.assert_allclose(features.embedding[:, -64:], features.pyramid[-1].mean((1, 2)), rtol=1e-5)
    assert features.embedding.shape == (2, encoder.dim) == (2, 8 + 16 + 32 + 64)


def test_bfloat16_computes_what_float32_does_and_keeps_its_parameters():
    exact = ResNet(EncoderConfig("resnet10", width=0.125), rngs=nnx.Rngs(0))
    rough = ResNet(EncoderConfig("resnet10", width=0.125, dtype="bfloat16"), rngs=nnx.Rngs(0))
    one, two = (encoder(inputs(patches=4)).embedding for encoder in (exact, rough))
    assert two.dtype == jnp.float32
    assert np.linalg.norm(one - two) < 0.02 * np.linalg.norm(one)  # bfloat16 rounds to 0.4 %
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(rough, nnx.Param))} == {FLOAT32}


def test_nodata_of_any_kind_gives_finite_gradients():
    batch = Batch(np.zeros((2, 4, 32, 32), "u2"), np.zeros((2, 8, 16, 16), "u2"), np.full((2, 2, 32, 32), -900, "i2"))
    batch.s1[0] = S1_NODATA
    bands = [band.name for group in GROUPS.values() for band in group]
    normalisation = Normalisation(dict.fromkeys(bands, 0.0), dict.fromkeys(bands, 1.0))
    encoder = ResNet(EncoderConfig("resnet10", width=0.125), rngs=nnx.Rngs(0))
    graphdef, params, stats = split_model(encoder)
    x = normalise(decode(batch), normalisation)

    def total(params):
        return nnx.merge(graphdef, params, stats)(x, train=True).embedding.sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)))


def test_the_projection_head_is_linear_after_its_last_relu():
    head = ProjectionHead(4, 8, 3, rngs=nnx.Rngs(0))
    z = head(jax.random.normal(jax.random.key(0), (16, 4)), train=True)
    assert z.shape == (16, 3)
    assert (np.asarray(z) < 0).any()
