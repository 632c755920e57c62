"""Pairing on a real month over Belgium: 12 Sentinel-2 and 10 Sentinel-1 dates, of which two are clear."""

import datetime as dt

import numpy as np
import pytest
import shapely
import xarray as xr

from catalog.grid import cell_at
from catalog.mgrs import transformer
from catalog.patch import Scene
from ingest.pairing import Rules, judge
from ingest.places import Place
from ingest.radiometry import SCL_CLOUD, SCL_SHADOW

EPSG = 32631


@pytest.fixture(scope="session")
def series(shared_data):
    folder = shared_data / "belgium_s1_s2_timeseries"
    with (
        xr.open_dataset(folder / "cdse_sentinel2_l2a.nc") as s2,
        xr.open_dataset(folder / "cdse_sentinel1_grd.nc") as s1,
    ):
        half = 5
        west, east = float(s2.x.min()) - half, float(s2.x.max()) + half
        south, north = float(s2.y.min()) - half, float(s2.y.max()) + half
        corners = transformer(EPSG, 4326).transform([west, east, east, west], [south, south, north, north])
        footprint = shapely.Polygon(np.stack(corners, axis=1))
        clouds = [100 * float(np.isin(scl, SCL_CLOUD + SCL_SHADOW).mean()) for scl in s2["S2-L2A-SCL"].to_numpy()]
        optical = [
            scene(f"S2 {day}", "sentinel-2-l2a", day, footprint, cloud_cover=cloud, baseline="05.09", tile="31UFS")
            for day, cloud in zip(s2.t.to_numpy(), clouds, strict=True)
        ]
        radar = [scene(f"S1 {day}", "sentinel-1-rtc", day, footprint) for day in s1.t.to_numpy()]
    grid = cell_at(EPSG, (west + east) / 2, (south + north) / 2, side_px=30)
    month = dt.datetime(2023, 4, 1, tzinfo=dt.UTC), dt.datetime(2023, 5, 1, tzinfo=dt.UTC)
    return Place(0, grid, *month), optical, radar


def scene(name, collection, day, footprint, **more):
    time = dt.datetime.fromisoformat(str(day)[:19]).replace(tzinfo=dt.UTC)
    return Scene(name, collection, time, "", None, None, EPSG, footprint, {}, **more)


def test_a_clear_date_with_same_day_radar_is_chosen_and_the_ten_cloudy_ones_refused(series):
    place, optical, radar = series
    verdict = judge(place, optical, radar, Rules(scene_cloud_max=20.0))
    assert f"{verdict.pair.s2.acquired:%Y-%m-%d}" in ("2023-04-05", "2023-04-15")
    assert verdict.pair.gap == dt.timedelta(0)
    cloudy = [refusal for refusal in verdict.refusals if refusal.reason == "cloudy_scene"]
    clear_days = {"S2 2023-04-05", "S2 2023-04-15"}
    assert len(cloudy) == 10
    assert not any(refusal.item_id[:13] in clear_days for refusal in cloudy)
    assert all("% (limit 20 %)" in refusal.detail for refusal in cloudy)
    assert len(verdict.refusals) + 2 == len(optical) + len(radar)  # everyone but the pair is told why


def test_without_a_cloud_limit_the_choice_is_still_the_clearest_same_day_pair(series):
    place, optical, radar = series
    verdict = judge(place, optical, radar, Rules(scene_cloud_max=100.0))
    assert verdict.pair.gap == dt.timedelta(0)
    assert verdict.pair.s2.cloud_cover == min(scene.cloud_cover for scene in optical)
