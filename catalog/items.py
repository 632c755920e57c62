"""One STAC item a patch: where it lies, when it was seen, what was measured on it, and how to open its pixels."""

import datetime as dt
import functools
from collections.abc import Mapping
from posixpath import join, normpath
from typing import Any

import shapely
import shapely.affinity

from catalog import split_items
from catalog.assets import DATA, EXTENSIONS, OBJECTS, PICTURES, STAC_VERSION, ZARR_TYPE, item_bands
from catalog.collections import CorpusRecord, link
from catalog.grid import PatchGrid
from catalog.labels import OSM_BY_NAME
from catalog.patch import Provenance, format_time, parse_time
from catalog.stats import BandStatistics

_DEGREE_DIGITS = 7  # 1 cm
_THREE_PICTURES: Mapping[str, Mapping[str, Any]] = {"thumbnail": {}, "overview": {}, "false_colour": {}}
_SUFFIXES = {
    "thumbnail": "rgb.webp", "overview": "sar.webp", "false_colour": "nir.webp", "corine": "corine.png",
    "osm": "osm.png",
}  # fmt: skip


def build_item(
    provenance: Provenance,
    record: CorpusRecord,
    shard: int,
    row: int,
    statistics: BandStatistics,
    files: Mapping[str, Mapping[str, Any]] = _THREE_PICTURES,
) -> dict[str, Any]:
    """The STAC item of the patch in row `row` of shard `shard`, with links relative to `shard-NNNNNN/`.

    It holds nothing but what the patch decides: equal patches give equal items.

    Args:
        statistics: of this one patch; its label counts become properties.
        files: which pictures and tables there are beside the pixels, by asset name, and what is known of each file.
    """
    geometry, bbox = geometry_of(provenance.grid)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": _extensions(provenance, statistics, files),
        "id": provenance.patch_id,
        "collection": record.collection_id,
        "geometry": geometry,
        "bbox": bbox,
        "properties": {
            **_common(provenance, record),
            **_place(provenance.grid),
            **_sensors(provenance),
            **_quality(provenance),
            **_labels(statistics, provenance.grid.side_px**2),
            "deepsentinel:shard": shard,
            "deepsentinel:index": row,
            "cube:dimensions": {
                "patch": {
                    "type": "patch",
                    "values": [provenance.patch_id],
                    "description": "select this item with .sel(patch=item.id)",
                }
            },
        },
        "links": _links(provenance, record, shard),
        "assets": _assets(provenance.patch_id, shard, statistics, files),
    }


def geometry_of(grid: PatchGrid) -> tuple[dict[str, Any], list[float]]:
    """GeoJSON geometry and bbox of a grid, in -180..180 degrees.

    A patch across the antimeridian becomes a MultiPolygon cut there, and its bbox has west > east (RFC 7946,
    sections 3.1.9 and 5.2).
    """
    corners = grid.corners_deg()
    (west, south), (east, north) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    if west >= -180 and east <= 180:
        ring = corners.round(_DEGREE_DIGITS).tolist()
        bbox = [round(value, _DEGREE_DIGITS) for value in (west, south, east, north)]
        return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, bbox
    outline = grid.footprint()
    parts = [
        shapely.affinity.translate(outline & shapely.box(west, -90, west + 360, 90), xoff=-180 - west)
        for west in (-540.0, -180.0, 180.0)
    ]
    polygons = [_polygon(part) for part in parts if not part.is_empty and part.area > 0]
    west, east = ((lon + 180) % 360 - 180 if abs(lon) > 180 else lon for lon in (west, east))
    bbox = [round(value, _DEGREE_DIGITS) for value in (west, south, east, north)]
    if len(polygons) == 1:
        return polygons[0], bbox
    return {"type": "MultiPolygon", "coordinates": [polygon["coordinates"] for polygon in polygons]}, bbox


def rebase(item: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The same item with its relative hrefs turned from `folder` to the folder above it."""
    links = [{**entry, "href": _rebase(entry["href"], folder)} for entry in item["links"]]
    assets = {name: {**asset, "href": _rebase(asset["href"], folder)} for name, asset in item["assets"].items()}
    return {**item, "links": links, "assets": assets}


def with_split(item: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """The same item with these properties about its split, and no others."""
    kept = {name: value for name, value in item["properties"].items() if name not in split_items.PROPERTIES}
    extensions = [uri for uri in item["stac_extensions"] if uri != EXTENSIONS["ml-aoi"]]
    extensions += [EXTENSIONS["ml-aoi"]] if "ml-aoi:split" in stated else []
    return {**item, "stac_extensions": extensions, "properties": {**kept, **stated}}


def shard_folder(shard: int) -> str:
    """Folder of a shard's items, inside the collection's."""
    return f"shard-{shard:06d}"


def picture_href(patch_id: str, shard: int, name: str) -> str:
    """Href of one picture of a patch by its asset's name, relative to the collection."""
    return f"previews/{shard:06d}/{patch_id}-{_SUFFIXES[name]}"


def objects_href(shard: int) -> str:
    """Href of the objects of a shard, relative to the collection."""
    return f"objects/{shard:06d}.parquet"


def _polygon(part: shapely.Polygon) -> dict[str, Any]:
    rounded = shapely.get_coordinates(part).round(_DEGREE_DIGITS).tolist()
    ring = rounded if shapely.is_ccw(part.exterior) else rounded[::-1]
    return {"type": "Polygon", "coordinates": [ring]}


def _rebase(href: str, folder: str) -> str:
    if "://" in href:
        return href
    above, _, name = href.rpartition("/")
    return f"{_moved(above, folder)}/{name}"


@functools.lru_cache(maxsize=4096)  # files of many items lie in one folder
def _moved(above: str, folder: str) -> str:
    moved = normpath(join(folder, above))
    return moved if moved == "." or moved.startswith("..") else f"./{moved}"


def _extensions(
    provenance: Provenance, statistics: BandStatistics, files: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    names = ["projection", "eo", "sar", "sat", "raster", "grid", "zarr", "datacube", "version"]
    if provenance.s2["orbit_state"] is None and provenance.s2["relative_orbit"] is None:
        names.remove("sat")
    if any(statistics.corine) or statistics.osm or any(statistics.worldcover):
        names.append("classification")
    if any(files.values()):
        names.append("file")
    return [EXTENSIONS[name] for name in names]


def _common(provenance: Provenance, record: CorpusRecord) -> dict[str, Any]:
    optical, radar = (parse_time(source["acquired"]) for source in (provenance.s2, provenance.s1))
    tile, cloud = provenance.grid.tile, 100 * provenance.quality.cloud_share
    return {
        "title": f"{tile} {optical:%Y-%m-%d}, radar {_hours(provenance.gap):+.1f} h, cloud {cloud:.0f} %",
        "datetime": format_time(optical),
        "start_datetime": format_time(min(optical, radar)),
        "end_datetime": format_time(max(optical, radar)),
        "platform": provenance.s2["platform"].lower(),
        "constellation": "sentinel-2",
        "instruments": ["c-sar", "msi"],
        "gsd": 10,
        "version": record.version,
    }


def _place(grid: PatchGrid) -> dict[str, Any]:
    return {
        "proj:code": f"EPSG:{grid.epsg}",
        "proj:shape": [grid.side_px, grid.side_px],
        "proj:transform": list(grid.transform),
        "proj:bbox": [float(edge) for edge in grid.bounds_m],
        "grid:code": f"MGRS-{grid.tile}",
    }


def _sensors(provenance: Provenance) -> dict[str, Any]:
    s1, s2 = provenance.s1, provenance.s2
    found = {
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:polarizations": ["VV", "VH"],
        "sat:orbit_state": s2["orbit_state"],
        "sat:relative_orbit": s2["relative_orbit"],
        "deepsentinel:s1_item_id": s1["item_id"],
        "deepsentinel:s1_platform": s1["platform"].lower(),
        "deepsentinel:s1_datetime": format_time(parse_time(s1["acquired"])),
        "deepsentinel:s1_orbit_state": s1["orbit_state"],
        "deepsentinel:s1_relative_orbit": s1["relative_orbit"],
        "deepsentinel:s2_item_id": s2["item_id"],
        "deepsentinel:s2_orbit_state": s2["orbit_state"],
        "deepsentinel:s2_relative_orbit": s2["relative_orbit"],
        "deepsentinel:s2_baseline": s2["baseline"],
        "deepsentinel:s2_scene_cloud_cover": s2["cloud_cover"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _quality(provenance: Provenance) -> dict[str, Any]:
    quality = provenance.quality
    shift = {
        "deepsentinel:s1_shift_east_m": quality.s1_shift_east_m,
        "deepsentinel:s1_shift_north_m": quality.s1_shift_north_m,
        "deepsentinel:s1_shift_peak": quality.s1_shift_peak,
    }
    return {
        "eo:cloud_cover": round(100 * quality.cloud_share, 4),
        "eo:snow_cover": round(100 * quality.snow_share, 4),
        "deepsentinel:gap_hours": _hours(provenance.gap),
        "deepsentinel:boa_offset_applied": quality.boa_offset_applied,
        "deepsentinel:s1_zone_changed": quality.s1_zone_changed,
        "deepsentinel:s1_valid_share": round(quality.s1_valid_share, 6),
        "deepsentinel:s2_valid_share": round(quality.s2_valid_share, 6),
        "deepsentinel:cloud_share": round(quality.cloud_share, 6),
        "deepsentinel:shadow_share": round(quality.shadow_share, 6),
        "deepsentinel:snow_share": round(quality.snow_share, 6),
        **{name: value for name, value in shift.items() if value is not None},
    }


def _labels(statistics: BandStatistics, pixels: int) -> dict[str, Any]:
    """Classes that occur in the patch; nothing for a patch without labels."""
    if not statistics.corine and not statistics.osm:
        return _worldcover(statistics, pixels)
    known = {code: count for code, count in statistics.corine.items() if code}
    found: dict[str, Any] = {
        "deepsentinel:corine_classes": sorted(known),
        "deepsentinel:corine_known_share": round(sum(known.values()) / pixels, 6),
        "deepsentinel:osm_classes": sorted(statistics.osm, key=lambda name: OSM_BY_NAME[name].bit),
    }
    if known:  # the smaller code wins a tie, so that the answer depends on no order
        found["deepsentinel:corine_majority"] = min(known, key=lambda code: (-known[code], code))
    return found | _worldcover(statistics, pixels)


def _worldcover(statistics: BandStatistics, pixels: int) -> dict[str, Any]:
    if not statistics.worldcover:
        return {}
    known = {value: count for value, count in statistics.worldcover.items() if value}
    return {
        "deepsentinel:worldcover_classes": sorted(known),
        "deepsentinel:worldcover_known_share": round(sum(known.values()) / pixels, 6),
    }


def _links(provenance: Provenance, record: CorpusRecord, shard: int) -> list[dict[str, str]]:
    sources = (("Sentinel-2", provenance.s2), ("Sentinel-1", provenance.s1))
    return [
        link("root", "../../catalog.json", "DeepSentinel"),
        link("parent", "./catalog.json", f"Shard {shard:06d}"),
        link("collection", "../collection.json", record.title),
        link("store", f"../shards/{shard:06d}.zarr", "Zarr store", ZARR_TYPE),
        *(
            link("derived_from", source["item_href"], f"{sensor} scene {source['item_id']}", "application/geo+json")
            for sensor, source in sources
            if source["item_href"]
        ),
    ]


def _assets(
    patch_id: str, shard: int, statistics: BandStatistics, files: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    corine = set(statistics.corine) - {0} if statistics.corine else None
    osm = set(statistics.osm) if statistics.osm or "osm" in files else None
    worldcover = set(statistics.worldcover) - {0} if statistics.worldcover else None
    bands = item_bands(corine, osm, worldcover)
    found: dict[str, Any] = {"data": {"href": f"../shards/{shard:06d}.zarr", **DATA, "bands": bands}}
    for name, kind in PICTURES.items():
        if name in files:
            found[name] = {"href": f"../{picture_href(patch_id, shard, name)}", **kind, **files[name]}
    if "objects" in files:
        found["objects"] = {"href": f"../{objects_href(shard)}", **OBJECTS, **files["objects"]}
    return found


def _hours(gap: dt.timedelta) -> float:
    return round(gap / dt.timedelta(hours=1), 4)
