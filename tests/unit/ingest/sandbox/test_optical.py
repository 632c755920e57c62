"""Sentinel-2 scenes: closed forms of the offset, block means, light and noise; masks and classes that agree."""

from dataclasses import replace

import numpy as np
import pytest

from ingest.sandbox import optical, spectra
from ingest.sandbox.clouds import Sky, clouds
from ingest.sandbox.earth import Ground
from ingest.sandbox.landcover import Cover
from ingest.sandbox.noise import Frame
from ingest.sandbox.sun import Sun

FRAME = Frame(32632, 500_040, 5_600_040, 120, 132)
SUN = Sun(40.0, 155.0)
CLEAR = Sky(0.0, 1000, 0.0, 1)


def flat(cover: Cover) -> Ground:
    """Flat ground of one cover without any variation."""
    shape = FRAME.shape
    return Ground(
        cover=np.full(shape, cover, np.uint8),
        zone=np.ones(shape, np.uint8),
        vigour=np.zeros(shape, np.int8),
        tone=np.zeros(shape, np.int8),
        texture=np.zeros(shape, np.int8),
        house=np.zeros(shape, np.uint8),
        hall=np.zeros(shape, np.uint8),
        road=np.zeros(shape, np.uint8),
        wall_angle=np.full(shape, 255, np.uint8),
        tower=np.zeros(shape, bool),
        elevation_m=np.full(shape, 100, np.int16),
        dzdx=np.zeros(shape, np.float16),
        dzdy=np.zeros(shape, np.float16),
    )


def shoot(ground: Ground, **changes) -> optical.OpticalScene:
    settings = {"day": 170, "sun": SUN, "sky": CLEAR, "offset": False, "noise_seed": 4}
    valid = changes.pop("valid", np.ones((FRAME.rows // 2, FRAME.cols // 2), bool))
    return optical.render(FRAME, ground, valid=valid, **(settings | changes))


def test_digital_numbers_round_shift_and_never_say_nodata():
    reflectance = np.array([[0.0, 0.12346, -0.2, 7.0]], np.float32)
    np.testing.assert_array_equal(optical.digital_numbers(reflectance, offset=False), [[1, 1235, 1, 65_535]])
    np.testing.assert_array_equal(optical.digital_numbers(reflectance, offset=True), [[1000, 2235, 1, 65_535]])


def test_the_late_baseline_adds_exactly_a_thousand():
    old, new = shoot(flat(Cover.GRASS)), shoot(flat(Cover.GRASS), offset=True)
    for name in spectra.BANDS:
        np.testing.assert_array_equal(new.bands[name].astype(int) - old.bands[name], 1000)


def test_block_means_are_means_of_blocks():
    fine = np.arange(36, dtype=np.float32).reshape(6, 6)
    np.testing.assert_array_equal(optical.block_mean(fine, 6), [[17.5]])
    np.testing.assert_array_equal(optical.block_mean(fine, 2)[0], [3.5, 5.5, 7.5])


def test_coarse_bands_see_the_mean_of_what_lies_inside():
    """Half water, half rock, in columns finer than a 60 m pixel: B01 is the mean of both."""
    striped = flat(Cover.WATER)
    striped.cover[:, ::2] = Cover.ROCK
    pure = [shoot(flat(cover)).bands["B01"].mean() for cover in (Cover.WATER, Cover.ROCK)]
    assert shoot(striped).bands["B01"].mean() == pytest.approx(np.mean(pure), abs=1.5)


def test_water_reflects_its_published_spectrum():
    scene = shoot(flat(Cover.WATER))
    expected = spectra.green_and_back()[1][Cover.WATER]
    for name, value in zip(spectra.BANDS, expected, strict=True):
        pixels = scene.bands[name]
        error = 1e4 * spectra.noise_reflectance(SUN.zenith_deg)[spectra.BANDS.index(name)] / np.sqrt(pixels.size)
        assert pixels.mean() == pytest.approx(1e4 * value, abs=5 * error + 0.2)


@pytest.mark.parametrize("name", ["B02", "B8A"])
def test_noise_is_that_of_the_instrument(name):
    pixels = shoot(flat(Cover.ROCK)).bands[name].astype(float)
    expected = 1e4 * float(spectra.noise_reflectance(SUN.zenith_deg)[spectra.BANDS.index(name)])
    variance = expected**2 + 1 / 12  # rounding to whole numbers
    assert pixels.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / pixels.size))


def test_reference_noise_by_hand():
    """B04: pi x 108 / (1512.1 x cos 60) / 142 = 0.00316."""
    assert spectra.noise_reflectance(60.0)[spectra.BANDS.index("B04")] == pytest.approx(0.00316, abs=1e-5)


def test_light_is_one_on_the_flat_and_more_towards_the_sun():
    ground = flat(Cover.GRASS)
    np.testing.assert_allclose(optical.illumination(ground, SUN), 1, atol=1e-6)
    east, north, up = SUN.vector
    facing = replace(
        ground, dzdx=np.full(FRAME.shape, -0.5 * east, np.float16), dzdy=np.full(FRAME.shape, -0.5 * north)
    )
    away = replace(ground, dzdx=-facing.dzdx, dzdy=-facing.dzdy)
    slope_squared = 0.25 * (east**2 + north**2)
    incidence = (up + 0.5 * (east**2 + north**2)) / np.sqrt(1 + slope_squared)
    np.testing.assert_allclose(optical.illumination(facing, SUN), (incidence + 0.45) / (up + 0.45), rtol=1e-3)
    assert optical.illumination(away, SUN).max() < 1


def test_resolutions_are_native():
    shapes = {name: band.shape for name, band in shoot(flat(Cover.GRASS)).bands.items()}
    assert shapes["B02"] == (120, 132)
    assert shapes["B11"] == (60, 66)
    assert shapes["B01"] == shapes["B09"] == (20, 22)


def test_outside_the_swath_every_band_and_the_classes_are_nodata():
    valid = np.ones((60, 66), bool)
    valid[:, :9] = False  # three 60 m pixels
    scene = shoot(flat(Cover.GRASS), valid=valid)
    assert not scene.scl[:, :9].any()
    assert scene.scl[:, 9:].all()
    for name, factor in (("B02", 18), ("B05", 9), ("B01", 3)):
        assert not scene.bands[name][:, :factor].any()
        assert scene.bands[name][:, factor:].all()


def test_classes_follow_the_clouds_that_dim_the_pixels():
    sky = Sky(0.4, 500, 0.0, 35)  # one that shows cloud, shadow and clear ground in so small a frame
    scene = shoot(flat(Cover.BROADLEAF), sky=sky)
    above = clouds(Frame(FRAME.epsg, FRAME.west_m, FRAME.north_m, 60, 66, 20), sky, SUN)
    np.testing.assert_array_equal(scene.scl == 9, above.opacity >= optical.CLOUD_HIGH)
    shaded = (above.shadow >= optical.SHADOW) & (above.opacity < optical.CLOUD_MEDIUM)
    np.testing.assert_array_equal(scene.scl == 3, shaded)
    clear = (above.opacity == 0) & (above.shadow == 0)
    assert np.isin(scene.scl[clear], (4,)).all()
    near = scene.bands["B8A"].astype(float)
    blue = optical.block_mean(scene.bands["B02"].astype(np.float32), 2)
    assert blue[scene.scl == 9].min() > blue[clear].max()
    cloudless_shade = (above.shadow >= optical.SHADOW) & (above.opacity == 0)
    assert near[cloudless_shade].mean() < (1 - 0.35 * 0.85 * 0.86) * near[clear].mean()
    assert scene.cloud_percent == pytest.approx(100 * np.isin(scene.scl, (8, 9, 10)).mean())


@pytest.mark.parametrize(
    "cover, expected", [(Cover.WATER, 6), (Cover.BROADLEAF, 4), (Cover.CONIFER, 4), (Cover.ROCK, 5), (Cover.GRAVEL, 5)]
)
def test_clear_summer_ground_has_its_class(cover, expected):
    assert (shoot(flat(cover)).scl == expected).all()


def ndvi(scene: optical.OpticalScene) -> float:
    red, near = (scene.bands[name].astype(float).mean() for name in ("B04", "B08"))
    return float((near - red) / (near + red))


def test_seasons_turn_leaves_and_harvest_fields():
    broadleaf, conifer = flat(Cover.BROADLEAF), flat(Cover.CONIFER)
    assert ndvi(shoot(broadleaf, day=190)) - ndvi(shoot(broadleaf, day=60)) > 0.3
    assert abs(ndvi(shoot(conifer, day=190)) - ndvi(shoot(conifer, day=90))) < 0.1
    wheat, maize = flat(Cover.WINTER_CROP), flat(Cover.SUMMER_CROP)
    assert ndvi(shoot(wheat, day=130)) > ndvi(shoot(maize, day=130)) + 0.3
    assert ndvi(shoot(maize, day=220)) > ndvi(shoot(wheat, day=220)) + 0.3


def test_snow_lies_high_up_in_winter_only():
    high = replace(flat(Cover.NATURAL_GRASS), elevation_m=np.full(FRAME.shape, 1800, np.int16))
    assert (shoot(high, day=20).scl == 11).all()
    assert not (shoot(high, day=200).scl == 11).any()
