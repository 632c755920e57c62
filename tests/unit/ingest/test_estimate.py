import datetime as dt

import pytest

from catalog.grid import grid_of_cell
from ingest.estimate import HEADER_MB, MB_PER_PATCH, Estimate, estimate_unknown
from ingest.places import Place, Places

START = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)
CELLS = ["33uuu-010-010", "33uuu-010-011", "33uuv-010-010", "33uuu-010-012"]


def test_requests_are_headers_and_blocks_of_every_image():
    """13 images of Sentinel-2 and 2 of Sentinel-1."""
    estimate = Estimate(places=9, patches=5, s2_scenes=2, s1_scenes=3, searches=0, known=True)
    assert estimate.requests == 2 * 13 + 3 * 2 + 5 * 15
    assert estimate.terabytes == pytest.approx((5 * MB_PER_PATCH + 32 * HEADER_MB) / 1e6)
    assert estimate.hours(10.0) == pytest.approx(estimate.terabytes * 1e6 / 10 / 3600)


def test_a_million_patches_are_the_terabytes_of_the_measured_ones():
    """5 to 10 TB for a million patches on the lattice; 30 to 45 requests a patch when each opens its own images."""
    estimate = Estimate(1_000_000, 1_000_000, s2_scenes=400_000, s1_scenes=100_000, searches=0, known=True)
    assert 5 <= estimate.terabytes <= 10
    alone = Estimate(1, 1, s2_scenes=1, s1_scenes=1, searches=0, known=True)
    assert 30 <= alone.requests <= 45


def test_without_an_index_scenes_are_guessed_from_tiles_and_strata():
    later = START + dt.timedelta(days=12)
    places = [Place(i, grid_of_cell(cell), START if i < 3 else later, later) for i, cell in enumerate(CELLS)]
    estimate = estimate_unknown(Places.of(places), 4, searches=7)
    assert (estimate.s2_scenes, estimate.patches, estimate.searches, estimate.known) == (3, 4, 7, False)
    assert estimate_unknown(Places.of(places), 2, searches=7).s2_scenes == 1
