"""Previews against hand-computed colours."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from catalog import preview
from catalog.assets import PICTURES
from catalog.fake import fake_patches
from catalog.labels import CORINE_BY_CODE, OSM_BY_NAME
from catalog.patch import Patch


@pytest.fixture
def patch() -> Patch:
    return next(iter(fake_patches(1, side_px=16)))


def test_rgb_takes_red_green_blue_with_one_stretch_for_all(patch: Patch):
    patch.s2_10m[:] = np.array([0, 750, 3000, 9999])[:, None, None]  # B02 is nodata, black
    patch.s2_10m[:, 1] = np.array([1, 750, 3000, 9999])[:, None]
    image = preview.rgb(patch)
    assert image.shape == (16, 16, 3)
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[1, 0].tolist() == [255, round(255 * 0.25 ** (1 / 1.6)), round(255 * (1e-4 / 0.3) ** (1 / 1.6))]


def test_sar_shows_vv_vh_and_their_ratio(patch: Patch):
    patch.s1[0], patch.s1[1] = -1250, -1950  # the middles of the ranges
    patch.s1[1, 0, 0] = -32768
    image = preview.sar(patch)
    assert image[5, 5].tolist() == [128, 128, round(255 * 7 / 15)]
    assert image[0, 0].tolist() == [0, 0, 0]


def test_labels_take_the_official_colours():
    codes = np.array([[0, CORINE_BY_CODE[312].grid_code]], np.uint8)
    assert preview.corine(codes).tolist() == [[[128, 128, 128], [0, 166, 0]]]


def test_webp_is_deterministic_and_decodes_to_about_the_same_picture(patch: Patch):
    image = preview.corine(np.full((32, 32), CORINE_BY_CODE[312].grid_code, np.uint8))
    encoded = preview.encode_webp(image)
    assert encoded == preview.encode_webp(image)
    with Image.open(io.BytesIO(encoded)) as decoded:
        assert decoded.format == "WEBP"
        assert np.abs(np.asarray(decoded.convert("RGB")).astype(int) - image).max() <= 4
    bright = dataclasses.replace(patch, s2_10m=np.full_like(patch.s2_10m, 3000))
    assert preview.encode_webp(preview.rgb(bright)) != preview.encode_webp(preview.rgb(patch))


def test_false_colour_shows_vegetation_red(patch: Patch):
    patch.s2_10m[:] = np.array([300, 750, 3000, 2500])[:, None, None]
    image = preview.false_colour(patch)
    assert image[5, 5].tolist() == [round(255 * 0.5 ** (1 / 1.6)), 255, round(255 * 0.25 ** (1 / 1.6))]


def test_osm_shows_the_class_on_top_and_grey_where_none_is_known():
    forest, building = OSM_BY_NAME["forest"], OSM_BY_NAME["building"]
    bits = np.array([[0, forest.value, forest.value | building.value]], np.uint32)
    assert preview.osm(bits).tolist() == [[[128, 128, 128], list(forest.colour), list(building.colour)]]


def test_label_pictures_keep_their_colours_and_stand_for_labelled_patches_only(patch: Patch):
    pictures = preview.draw(patch)
    assert set(pictures) == set(PICTURES)
    with Image.open(io.BytesIO(pictures["corine"])) as decoded:
        assert decoded.format == "PNG"
        np.testing.assert_array_equal(np.asarray(decoded), preview.corine(patch.labels["corine"]))
    assert set(preview.draw(dataclasses.replace(patch, labels={}))) == {"thumbnail", "overview", "false_colour"}
