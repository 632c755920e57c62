"""Random views of patches, on the device, in physical units: reflectance and dB, NaN where invalid.

Nothing here changes what the ground is: no scaling, no mixing, no swap of bands.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dsjax.config import AugmentConfig, Ramp
from dsjax.data import Batch


def ramp(schedule: Ramp, progress: Float[Array, ""] | float) -> Float[Array, ""]:
    """Value of a schedule at a share 0..1 of the run."""
    done = (progress - schedule.start) / (schedule.end - schedule.start)
    return schedule.first + (schedule.last - schedule.first) * jnp.clip(done, 0.0, 1.0)


def random_view(
    key: PRNGKeyArray, window: Batch[Array], crop_px: int, config: AugmentConfig, progress: Float[Array, ""] | float
) -> Batch[Array]:
    """One random view of each window: where it lies, how it is turned, what light and noise it has, which bands."""
    places, turns, light, noise, bands = jax.random.split(key, 5)
    view = random_square(places, window, crop_px, ramp(config.shift_px, progress))
    view = random_turn(turns, view)
    view = jitter_optical(light, view, config)
    view = jitter_radar(noise, view, config)
    return drop_bands(bands, view, ramp(config.band_dropout, progress))


def random_square(
    key: PRNGKeyArray, window: Batch[Array], side_px: int, shift_px: Float[Array, ""] | float
) -> Batch[Array]:
    """A square of each window whose corner lies within `shift_px` of the window's, on the 20 m grid."""
    draws = jax.random.uniform(key, (window.s1.shape[0], 2))
    steps_20m = jnp.floor(shift_px / 2 + 1e-3)  # a ramp that reaches a whole step must not miss it by rounding
    corners_20m = jnp.floor(draws * (steps_20m + 1)).astype(jnp.int32)
    return Batch(
        _squares(window.s2_10m, 2 * corners_20m, side_px),
        _squares(window.s2_20m, corners_20m, side_px // 2),
        _squares(window.s1, 2 * corners_20m, side_px),
    )


def _squares(images: Array, corners: Int[Array, "batch 2"], side_px: int) -> Array:
    def square(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (side_px, side_px, image.shape[-1]))

    return jax.vmap(square)(images, corners)


def random_turn(key: PRNGKeyArray, view: Batch[Array]) -> Batch[Array]:
    """One of the eight symmetries of the square for each patch, the same for all its arrays."""
    choices = jax.random.bernoulli(key, 0.5, (3, view.s1.shape[0]))
    return Batch(*(turn(images, choices) for images in view))


def turn(images: Float[Array, "batch y x band"], choices: Bool[Array, "3 batch"]) -> Float[Array, "batch y x band"]:
    """Flip north-south, flip west-east and transpose, each where chosen: together all eight symmetries."""
    for choice, changed in zip(
        choices, (lambda a: a[:, ::-1], lambda a: a[:, :, ::-1], lambda a: a.swapaxes(1, 2)), strict=True
    ):
        images = jnp.where(choice[:, None, None, None], changed(images), images)
    return images


def jitter_optical(key: PRNGKeyArray, view: Batch[Array], config: AugmentConfig) -> Batch[Array]:
    """Another illumination (all bands times a gain), another calibration (each band), another haze (plus an offset)."""
    common, separate, haze = jax.random.split(key, 3)
    patches, bands_10m = view.s2_10m.shape[0], view.s2_10m.shape[-1]
    bands = bands_10m + view.s2_20m.shape[-1]
    gain = jnp.exp(
        config.s2_gain * jax.random.normal(common, (patches, 1, 1, 1))
        + config.s2_band_gain * jax.random.normal(separate, (patches, 1, 1, bands))
    )
    offset = config.s2_offset * jax.random.normal(haze, (patches, 1, 1, 1))
    return view._replace(
        s2_10m=view.s2_10m * gain[..., :bands_10m] + offset, s2_20m=view.s2_20m * gain[..., bands_10m:] + offset
    )


def jitter_radar(key: PRNGKeyArray, view: Batch[Array], config: AugmentConfig) -> Batch[Array]:
    """Another moisture (a level for each polarisation) and more speckle (noise for each pixel), both added in dB."""
    level, speckle = jax.random.split(key)
    shape = view.s1.shape
    offset = config.s1_offset_db * jax.random.normal(level, (shape[0], 1, 1, shape[-1]))
    return view._replace(s1=view.s1 + offset + config.s1_noise_db * jax.random.normal(speckle, shape))


def drop_bands(key: PRNGKeyArray, view: Batch[Array], rate: Float[Array, ""] | float) -> Batch[Array]:
    """Blank each band of each patch with probability `rate`, as if it held no valid pixel."""
    keys = jax.random.split(key, len(view))

    def drop(key: PRNGKeyArray, images: Array) -> Array:
        dropped = jax.random.bernoulli(key, rate, (images.shape[0], 1, 1, images.shape[-1]))
        return jnp.where(dropped, jnp.nan, images)

    return Batch(*(drop(key, images) for key, images in zip(keys, view, strict=True)))


def choose_sensors(
    key: PRNGKeyArray, patches: int, dropout: Float[Array, ""] | float, cross_sensor: float
) -> tuple[Bool[Array, "batch sensor"], Bool[Array, "batch sensor"]]:
    """Which sensors each of the two views of a patch keeps.

    With probability `cross_sensor` one view is Sentinel-1 alone and the other Sentinel-2 alone; otherwise each view
    keeps both, or with probability `dropout` a random one.
    """
    crossed_key, which_key, first_key, second_key = jax.random.split(key, 4)
    crossed = jax.random.bernoulli(crossed_key, cross_sensor, (patches, 1))
    alone = _one_sensor(which_key, patches)
    first, second = (_drop_sensor(key, patches, dropout) for key in (first_key, second_key))
    return jnp.where(crossed, alone, first), jnp.where(crossed, ~alone, second)


def _drop_sensor(key: PRNGKeyArray, patches: int, rate: Float[Array, ""] | float) -> Bool[Array, "batch sensor"]:
    whether, which = jax.random.split(key)
    return ~jax.random.bernoulli(whether, rate, (patches, 1)) | _one_sensor(which, patches)


def _one_sensor(key: PRNGKeyArray, patches: int) -> Bool[Array, "batch sensor"]:
    first = jax.random.bernoulli(key, 0.5, (patches, 1))
    return jnp.concatenate([first, ~first], axis=1)
