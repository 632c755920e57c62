import json

import numpy as np
import pytest
import shapely

from ingest.errors import PlanError
from ingest.regions import region


@pytest.mark.parametrize(
    "spec, inside, outside",
    [
        ("land", (13.4, 52.5), (-30.0, 40.0)),
        ("land", (-60.0, -3.0), (0.0, -80.0)),  # Antarctica is left out
        ("land", (-172.0, 66.0), (0.0, 66.0)),  # Chukotka reaches over the antimeridian, and not around the globe
        ("FJ", (179.0, -16.6), (-120.0, -16.7)),
        ("EU27+GB", (-1.5, 53.0), (8.2, 46.9)),  # Switzerland is not a member
        ("EU27+GB", (14.4, 35.9), (-53.0, 4.0)),  # Malta is in, French Guiana is out
        ("DE,FRA", (2.3, 48.8), (21.0, 52.2)),
        ("ke", (37.0, -0.5), (32.5, 1.0)),
    ],
)
def test_regions_hold_what_they_should(spec, inside, outside):
    outline = region(spec)
    assert shapely.contains_xy(outline, *inside)
    assert not shapely.contains_xy(outline, *outside)


def test_all_land_has_the_area_of_the_continents_without_antarctica():
    """134.4 million square kilometres, by the equal-area cylinder: dx = dlon, dy = d sin(lat)."""
    flat = shapely.transform(
        shapely.segmentize(region("land"), 0.5),
        lambda p: np.stack([np.radians(p[:, 0]), np.sin(np.radians(p[:, 1]))], axis=1),
    )
    assert flat.area * 6371.0**2 == pytest.approx(134.4e6, rel=0.001)


def test_a_geojson_region_is_read_whole(tmp_path):
    squares = [shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)]
    features = [{"type": "Feature", "geometry": json.loads(shapely.to_geojson(square))} for square in squares]
    path = tmp_path / "squares.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert region(str(path)).area == 2


METRES = '{"type": "Polygon", "coordinates": [[[3e5, 59e5], [301e3, 59e5], [301e3, 5901e3], [3e5, 59e5]]]}'


@pytest.mark.parametrize("text, hint", [("{", "not GeoJSON"), (METRES, "EPSG:4326")])
def test_a_bad_region_file_says_what_is_wrong(tmp_path, text, hint):
    path = tmp_path / "bad.geojson"
    path.write_text(text)
    with pytest.raises(PlanError, match=hint):
        region(str(path))
