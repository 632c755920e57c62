"""How STAC describes the arrays of a shard: bands, classes, dimensions and the assets of an item."""

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from catalog import bands, labels, schema
from catalog.stats import BandStatistics

STAC_VERSION = "1.1.0"
ZARR_TYPE = "application/vnd.zarr; version=3"
PARQUET_TYPE = "application/vnd.apache.parquet"
EXTENSIONS: Mapping[str, str] = {
    name: f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in {
        "projection": "2.0.0", "eo": "2.0.0", "sar": "1.3.0", "sat": "1.1.0", "raster": "2.0.0", "grid": "1.1.0",
        "zarr": "1.1.0", "datacube": "2.2.0", "classification": "2.0.0", "file": "2.1.0", "version": "1.2.0",
        "scientific": "1.0.0", "ml-aoi": "0.2.0", "table": "1.2.0", "mlm": "1.4.0",
    }.items()
}  # fmt: skip

DATA: Mapping[str, Any] = {
    "title": "Zarr group of the shard that holds the patch",
    "type": ZARR_TYPE,
    "roles": ["data"],
    "zarr:node_type": "group",
    "zarr:zarr_format": 3,
    "zarr:consolidated": True,
}
OBJECTS: Mapping[str, Any] = {
    "title": "Objects of the shard with box, class and geometry (rows where patch_id is the item's id), ODbL 1.0",
    "type": PARQUET_TYPE,
    "roles": ["data", "label"],
}
PICTURES: Mapping[str, Mapping[str, Any]] = {
    "thumbnail": {"title": "True colour", "type": "image/webp", "roles": ["thumbnail"]},
    "overview": {
        "title": "Sentinel-1: VV, VH, VV - VH in decibels as red, green, blue",
        "type": "image/webp",
        "roles": ["overview"],
    },
    "false_colour": {
        "title": "Near infrared, red, green as red, green, blue",
        "type": "image/webp",
        "roles": ["overview"],
    },
    "corine": {"title": "CORINE Land Cover 2018", "type": "image/png", "roles": ["overview"]},
    "osm": {"title": "OpenStreetMap, the class on top", "type": "image/png", "roles": ["overview"]},
}
"""Pictures of a patch by asset name; those of labels stand on labelled items only."""
_SHA256_MULTIHASH = "1220"  # multihash code of sha2-256 and its length, as file:checksum wants


def checksum(nbytes: int, sha256: str) -> dict[str, Any]:
    """What the file extension says about a file, or about all files of a shard."""
    return {"file:size": nbytes, "file:checksum": _SHA256_MULTIHASH + sha256}


def describe_file(content: bytes) -> dict[str, Any]:
    """What the file extension says about these bytes."""
    return checksum(len(content), hashlib.sha256(content).hexdigest())


def dimensions(side_px: int) -> dict[str, Any]:
    """The collection's `cube:dimensions`."""
    found: dict[str, Any] = {
        "patch": {"type": "patch", "extent": [None, None], "description": "patch id, equal to the item's id"}
    }
    for name, values in schema.COORDINATES.items():
        found[name] = {"type": "bands", "values": list(values)}
    for gsd_m in (10, 20):
        for axis, type_ in (("y", "row"), ("x", "column")):
            extent = [0, side_px * 10 // gsd_m - 1]
            found[f"{axis}_{gsd_m}m"] = {"type": type_, "extent": extent, "unit": "px"}
    return found


def variables(arrays: Sequence[str]) -> dict[str, Any]:
    """The collection's `cube:variables`, for the pixel arrays that its shards hold."""
    found: dict[str, Any] = {}
    for name in arrays:
        spec = schema.BY_NAME[name]
        found[name] = {"type": "data", "dimensions": ["patch", *spec.dims], "description": spec.attributes["long_name"]}
        if "units" in spec.attributes:
            found[name]["unit"] = spec.attributes["units"]
    corner = {"west_m": "west edge of the north-west pixel", "north_m": "its north edge"}
    for name, text in {"epsg": "UTM zone", **corner}.items():
        found[name] = {"type": "auxiliary", "dimensions": ["patch"], "description": text}
    found["provenance"] = {"type": "auxiliary", "dimensions": ["patch"], "description": "sources and quality, JSON"}
    return found


def item_assets(arrays: Sequence[str], statistics: BandStatistics) -> dict[str, Any]:
    """The collection's `item_assets`: what every item's assets share, bands and classes above all.

    Band statistics are in stored numbers, as `raster:scale` and `nodata` are.
    """
    described = [
        *(_band(f"s2_10m[band_10m={band.name}]", band, statistics) for band in bands.S2_10M),
        *(_band(f"s2_20m[band_20m={band.name}]", band, statistics) for band in bands.S2_20M),
        *(_band(f"s1[pol={band.name}]", band, statistics) for band in bands.S1),
        *(_CLASS_BANDS[name]() for name in arrays if name in _CLASS_BANDS),
    ]
    pictures = {name: dict(kind) for name, kind in PICTURES.items() if name in arrays or name not in schema.BY_NAME}
    return {"data": {**DATA, "bands": described}, **pictures, **({"objects": dict(OBJECTS)} if "osm" in arrays else {})}


def item_bands(
    corine: Collection[int] | None, osm: Collection[str] | None, worldcover: Collection[int] | None = None
) -> list[dict[str, Any]]:
    """Bands of one item's `data`: what is needed to read them, and the label classes that the patch shows.

    The collection's `item_assets` says more: wavelengths, statistics and every class.

    Args:
        corine: CORINE codes that occur, None for a patch without the label.
        osm: names of OpenStreetMap classes that occur, likewise.
        worldcover: WorldCover classes that occur, likewise.
    """
    found = [*_pixel_bands(), {"name": "scl", "data_type": "uint8"}]
    if corine is not None:
        classes = [entry for code, entry in _corine_classes().items() if code in corine]
        shown = {"classification:classes": classes} if classes else {}
        found.append({"name": "corine", "data_type": "uint8", **shown})
    if osm is not None:
        fields = [entry for name, entry in _osm_fields().items() if name in osm]
        found.append({"name": "osm", "data_type": "uint32", **({"classification:bitfields": fields} if fields else {})})
    if worldcover is not None:
        classes = [entry for value, entry in _worldcover_classes().items() if value in worldcover]
        shown = {"classification:classes": classes} if classes else {}
        found.append({"name": "worldcover", "data_type": "uint8", **shown})
    return found


@functools.cache
def _pixel_bands() -> tuple[dict[str, Any], ...]:
    kept = ("name", "data_type", "nodata", "unit", "gsd", "eo:common_name", "raster:scale")
    described = item_assets([], BandStatistics())["data"]["bands"]
    return tuple({name: band[name] for name in kept if name in band} for band in described)


def _band(name: str, band: bands.Band, statistics: BandStatistics) -> dict[str, Any]:
    optical = band.sensor == "sentinel-2"
    scale = bands.S2_SCALE if optical else bands.S1_SCALE_DB
    described: dict[str, Any] = {
        "name": name,
        "description": f"{band.sensor.capitalize()} {band.name}, {band.units}",
        "data_type": band.dtype,
        "nodata": band.nodata,
        "unit": "1" if optical else "dB",
        "gsd": band.gsd_m,
        "raster:scale": scale,
        "raster:offset": 0,
        "raster:spatial_resolution": min(band.gsd_m, 20),
    }
    if band.centre_nm is not None:
        described |= {"eo:common_name": band.common_name, "eo:center_wavelength": round(band.centre_nm / 1000, 4)}
    moments = statistics.bands.get(band.name)
    if moments is not None and moments.count:
        stored = {"minimum": moments.minimum, "maximum": moments.maximum, "mean": moments.mean, "stddev": moments.std}
        described["statistics"] = {key: round(value / scale, 4) for key, value in stored.items()}
    return described


def _scl_band() -> dict[str, Any]:
    classes = [_class(scene.value, scene.name, scene.colour) for scene in labels.SCL]
    classes[0]["nodata"] = True
    return {"name": "scl", "data_type": "uint8", "gsd": 20, "classification:classes": classes}


def _corine_band() -> dict[str, Any]:
    unknown = {"value": 0, "name": "unknown", "nodata": True}
    classes = [unknown, *_corine_classes().values()]
    return {"name": "corine", "data_type": "uint8", "gsd": 100, "classification:classes": classes}


def _osm_band() -> dict[str, Any]:
    fields = list(_osm_fields().values())
    return {"name": "osm", "data_type": "uint32", "gsd": 10, "classification:bitfields": fields}


def _worldcover_band() -> dict[str, Any]:
    unknown = {"value": 0, "name": "unknown", "nodata": True}
    classes = [unknown, *_worldcover_classes().values()]
    return {"name": "worldcover", "data_type": "uint8", "gsd": 10, "classification:classes": classes}


@functools.cache
def _worldcover_classes() -> dict[int, dict[str, Any]]:
    """Classes by value."""
    return {cover.value: _class(cover.value, cover.name, cover.colour) for cover in labels.WORLDCOVER}


@functools.cache
def _corine_classes() -> dict[int, dict[str, Any]]:
    """Classes by CORINE code."""
    return {c.code: _class(c.grid_code, c.name, c.colour) | {"title": f"{c.code} {c.name}"} for c in labels.CORINE}


@functools.cache
def _osm_fields() -> dict[str, dict[str, Any]]:
    """Bitfields by class name."""
    return {
        osm.name: {
            "name": osm.name,
            "offset": osm.bit,
            "length": 1,
            "classes": [{"value": 0, "name": "no"}, _class(1, osm.name, osm.colour)],
        }
        for osm in labels.OSM
    }


_CLASS_BANDS = {"scl": _scl_band, "corine": _corine_band, "osm": _osm_band, "worldcover": _worldcover_band}


def _class(value: int, title: str, colour: labels.Colour) -> dict[str, Any]:
    words = "".join(character if character.isalnum() else " " for character in title.lower()).split()
    return {"value": value, "name": "-".join(words), "title": title, "color_hint": "{:02X}{:02X}{:02X}".format(*colour)}
