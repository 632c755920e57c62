"""Sentinel-1 scenes: the statistics of speckle against theory, and how ground, walls and borders show."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sandbox import radar
from ingest.sandbox.earth import Ground
from ingest.sandbox.landcover import Cover
from ingest.sandbox.noise import Frame

FRAME = Frame(32632, 500_040, 5_600_040, 200, 200)
EVERYWHERE = np.ones(FRAME.shape, bool)


def flat(cover: Cover) -> Ground:
    shape = FRAME.shape
    zero, share = np.zeros(shape, np.int8), np.zeros(shape, np.uint8)
    return Ground(
        cover=np.full(shape, cover, np.uint8), zone=share, vigour=zero, tone=zero,
        texture=zero, house=share, hall=share, road=share, wall_angle=np.full(shape, 255, np.uint8),
        tower=np.zeros(shape, bool), elevation_m=np.full(shape, 100, np.int16), dzdx=np.zeros(shape, np.float16),
        dzdy=np.zeros(shape, np.float16),
    )  # fmt: skip


def shoot(ground: Ground, **changes) -> dict[str, np.ndarray]:
    settings = {"day": 170, "orbit_state": "ascending", "valid": EVERYWHERE, "noise_seed": 3}
    return radar.render(FRAME, ground, **(settings | changes))


@pytest.mark.parametrize("polarisation", ["VV", "VH"])
def test_homogeneous_ground_has_4_4_looks(polarisation):
    """For gamma-distributed power mean^2 / variance estimates L with variance 2 L (L + 1) / N."""
    power = shoot(flat(Cover.WATER))[polarisation].astype(float)
    looks = power.mean() ** 2 / power.var()
    assert looks == pytest.approx(4.4, abs=4 * np.sqrt(2 * 4.4 * 5.4 / power.size))


def test_speckle_is_white_and_independent_between_polarisations():
    scene = shoot(flat(Cover.WATER))
    limit = 4 / np.sqrt(EVERYWHERE.size)
    assert abs(np.corrcoef(scene["VV"].ravel(), scene["VH"].ravel())[0, 1]) < limit
    assert abs(np.corrcoef(scene["VV"][:, 1:].ravel(), scene["VV"][:, :-1].ravel())[0, 1]) < limit


def test_means_are_those_of_the_table():
    """Bare rock feels a quarter of the day's moisture, at most 0.7 dB."""
    scene = shoot(flat(Cover.ROCK))
    assert 10 * np.log10(scene["VV"].mean()) == pytest.approx(-10.2, abs=0.75)
    assert 10 * np.log10(scene["VH"].mean()) == pytest.approx(-17.4, abs=0.75)


@pytest.mark.parametrize("cover", list(Cover))
@pytest.mark.parametrize("day", [20, 190])
def test_vv_exceeds_vh_on_every_cover(cover, day):
    scene = shoot(flat(cover), day=day)
    assert scene["VV"].mean() > 1.5 * scene["VH"].mean()


def test_water_is_darkest_and_rapeseed_grows_in_vh():
    def mean_db(cover: Cover, day: int) -> float:
        return float(10 * np.log10(shoot(flat(cover), day=day)["VH"].mean()))

    assert mean_db(Cover.WATER, 170) < min(mean_db(cover, 170) for cover in (Cover.FALLOW, Cover.GRASS, Cover.CONIFER))
    assert mean_db(Cover.RAPESEED, 150) > mean_db(Cover.RAPESEED, 20) + 2


def test_walls_along_the_flight_shine_in_one_orbit_only():
    aligned = round(12 / 90 * 254)  # ascending flight heads 12 degrees west of north
    walls = replace(
        flat(Cover.GARDEN),
        house=np.full(FRAME.shape, 255, np.uint8),
        wall_angle=np.full(FRAME.shape, aligned, np.uint8),
    )
    ascending, descending = (shoot(walls, orbit_state=state)["VV"].mean() for state in ("ascending", "descending"))
    assert ascending == pytest.approx(0.30 * 5.0, rel=0.02)
    assert descending == pytest.approx(0.30 * (1 + 4 * np.exp(-((24 / 14) ** 2))), rel=0.03)


def test_no_building_no_bounce():
    assert radar.double_bounce(np.array([255], np.uint8), "ascending") == 0


def test_pylons_are_point_targets():
    ground = flat(Cover.GRASS)
    ground.tower[100, 100] = True
    bare = shoot(flat(Cover.GRASS))["VV"]
    lit = shoot(ground)["VV"]
    assert lit[100, 100] > 10 * bare[100, 100]
    assert (lit != bare).sum() == 1


def test_outside_the_swath_is_nodata():
    valid = EVERYWHERE.copy()
    valid[:, :50] = False
    for image in shoot(flat(Cover.GRASS), valid=valid).values():
        assert image.dtype == np.float32
        assert (image[:, :50] == -32768).all()
        assert (image[:, 50:] > 0).all()


@given(st.floats(2.0**-16, 2.0**14, width=32))
def test_rounding_keeps_a_relative_error_below_a_4096th(value):
    rounded = float(radar.round_mantissa(np.array([value], np.float32))[0])
    assert abs(rounded - value) <= value * 2**-12
