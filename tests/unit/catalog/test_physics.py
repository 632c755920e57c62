"""Right pixels pass, and each kind of damage is named: on a made-up meadow with a pond and on real patches."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from catalog import bands
from catalog.fake import fake_patches
from catalog.patch import Patch
from catalog.physics import check_physics

# Reflectance of leaves and of clear water (typical Level-2A values) in the stored band order.
_LEAVES_10M, _WATER_10M = (0.03, 0.06, 0.04, 0.35), (0.05, 0.05, 0.03, 0.02)
_LEAVES_20M = (0.09, 0.26, 0.33, 0.36, 0.19, 0.09, 0.025, 0.36)
_WATER_20M = (0.03, 0.02, 0.02, 0.02, 0.01, 0.005, 0.05, 0.02)


@pytest.fixture
def meadow() -> Patch:
    """64 x 64 pixels of leaves, the northern quarter a pond."""
    fake = next(iter(fake_patches(1)))

    def stored(leaves: tuple[float, ...], water: tuple[float, ...], side: int) -> np.ndarray:
        pixels = np.repeat(np.array(leaves)[:, None, None], side, 1).repeat(side, 2)
        pixels[:, : side // 4] = np.array(water)[:, None, None]
        return np.rint(pixels * 1e4).astype(np.uint16)

    scl = np.full((32, 32), 4, np.uint8)
    scl[:8] = 6
    return dataclasses.replace(
        fake, s2_10m=stored(_LEAVES_10M, _WATER_10M, 64), s2_20m=stored(_LEAVES_20M, _WATER_20M, 32), scl=scl
    )


def _shifted(patch: Patch, dn: int) -> Patch:
    fine, coarse = (np.clip(a.astype(int) + dn, 1, 65535).astype(np.uint16) for a in (patch.s2_10m, patch.s2_20m))
    return dataclasses.replace(patch, s2_10m=fine, s2_20m=coarse)


def _wrapped(patch: Patch) -> Patch:
    return dataclasses.replace(patch, s2_10m=patch.s2_10m - np.uint16(1000))


def _linear(patch: Patch) -> Patch:
    return dataclasses.replace(patch, s1=np.rint(100 * 10 ** (patch.s1 / 1000.0)).astype(np.int16))


DAMAGE = {
    "s1-order": lambda patch: dataclasses.replace(patch, s1=patch.s1[::-1]),
    "s1-decibel": _linear,
    "s1-range": lambda patch: dataclasses.replace(patch, s1=patch.s1 * np.int16(10)),
    "s2-offset-missing": lambda patch: _shifted(patch, 1000),
    "s2-offset-doubled": lambda patch: _shifted(patch, -1000),
    "s2-range": _wrapped,
    "s2-near-infrared": lambda patch: dataclasses.replace(patch, s2_10m=np.roll(patch.s2_10m, 1, axis=0)),
    "s2-leaf-spectrum": lambda patch: dataclasses.replace(patch, s2_20m=patch.s2_20m[[0, 1, 2, 3, 5, 4, 6, 7]]),
    "valid-share": lambda patch: dataclasses.replace(patch, s1=np.where(np.arange(64) < 8, -32768, patch.s1)),
}


def test_right_pixels_pass(meadow: Patch):
    assert check_physics(meadow) == ()
    assert [check_physics(patch) for patch in fake_patches(4)] == [()] * 4


@pytest.mark.parametrize("rule", DAMAGE)
def test_damage_is_named_with_its_evidence(meadow: Patch, rule: str):
    findings = {finding.rule: finding for finding in check_physics(DAMAGE[rule](meadow))}
    assert rule in findings
    assert findings[rule].subject == meadow.patch_id
    assert any(character.isdigit() for character in findings[rule].evidence)


def test_red_in_the_place_of_blue_is_seen_over_bare_soil(meadow: Patch):
    soil = dataclasses.replace(meadow, scl=np.full_like(meadow.scl, 5))
    soil.s2_10m[:3] = np.array([1000, 1500, 2200])[:, None, None]
    soil.s2_20m[6] = 900
    assert "s2-blue-end" not in {finding.rule for finding in check_physics(soil)}
    swapped = dataclasses.replace(soil, s2_10m=soil.s2_10m[[2, 1, 0, 3]])
    assert "s2-blue-end" in {finding.rule for finding in check_physics(swapped)}


def test_a_patch_without_valid_pixels_says_only_what_it_can(meadow: Patch):
    quality = dataclasses.replace(meadow.provenance.quality, s1_valid_share=0.0, s2_valid_share=0.0)
    empty = dataclasses.replace(
        meadow,
        provenance=dataclasses.replace(meadow.provenance, quality=quality),
        s2_10m=np.zeros_like(meadow.s2_10m), s2_20m=np.zeros_like(meadow.s2_20m), scl=np.zeros_like(meadow.scl),
        s1=np.full_like(meadow.s1, bands.S1_NODATA),
    )  # fmt: skip
    assert check_physics(empty) == ()


_FILE_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def _real(folder: Path, site: str, fake: Patch) -> Patch:
    """A patch of real pixels; SCL, which these files lack, from indices of the undamaged pixels."""
    import rasterio

    (optical,), (radar,) = ((folder / kind).glob(f"{site}*.tif") for kind in ("S2L2A", "S1RTC"))
    with rasterio.open(optical) as source:
        pixels = dict(zip(_FILE_ORDER, np.maximum(source.read(), 1).astype(np.uint16), strict=True))
    with rasterio.open(radar) as source:
        s1 = np.rint(source.read() * 100).astype(np.int16)
    fine = np.stack([pixels[band.name] for band in bands.S2_10M])
    green, red, nir = (fine[i].astype(float)[::2, ::2] for i in (1, 2, 3))
    scl = np.where(nir - red > 0.4 * (nir + red), 4, np.where(green > 1.5 * nir, 6, 5)).astype(np.uint8)
    scl[green > 4000] = 9
    coarse = np.stack([pixels[band.name][::2, ::2] for band in bands.S2_20M])
    return dataclasses.replace(fake, s2_10m=fine, s2_20m=coarse, scl=scl, s1=s1)


@pytest.mark.parametrize("site", ["282D_485L_3_3", "38D_378R_2_3", "609U_541L_3_0", "637U_59R_1_3"])
def test_real_patches_pass_and_damaged_ones_do_not(shared_data: Path, site: str):
    patch = _real(shared_data / "terramind_s1rtc_s2l2a", site, next(iter(fake_patches(1))))
    assert check_physics(patch) == ()
    for rule in ("s1-order", "s1-decibel"):
        assert rule in {finding.rule for finding in check_physics(DAMAGE[rule](patch))}
    if site in ("282D_485L_3_3", "637U_59R_1_3"):  # the two with leaves; snow and savanna cannot tell
        for rule in ("s2-offset-missing", "s2-offset-doubled"):
            assert rule in {finding.rule for finding in check_physics(DAMAGE[rule](patch))}
