"""STAC items shaped like the Planetary Computer's, for scenes that exist in an archive.

Ids, hrefs, properties and assets follow items recorded from the real API. Hosts are the real ones, with the scheme
http, so that the real SDK signs them and a plain HTTP proxy can answer for them. Only assets whose blob exists
are listed: the 12 bands and SCL of Sentinel-2, VV and VH of Sentinel-1; not AOT, WVP, visual, preview, tilejson,
rendered_preview nor the SAFE metadata files.
"""

import datetime as dt
import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import shapely

from catalog.errors import DeepSentinelError, OutputExistsError
from catalog.mgrs import TILE_SIDE_PX, tile_origin
from ingest.footprints import cut
from ingest.sandbox import orbits

S2_COLLECTION, S1_COLLECTION = "sentinel-2-l2a", "sentinel-1-rtc"
API = "https://planetarycomputer.microsoft.com/api/stac/v1"
S2_BLOBS = "http://sentinel2l2a01.blob.core.windows.net/sentinel2-l2"
S1_BLOBS = "http://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
S1_NODATA = -32768.0
S1_GSD_M = 10
LICENSE = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
_BLOB_HOST = ".blob.core.windows.net"

OrbitState = Literal["ascending", "descending"]

# Native resolution and the `eo:bands` entry (title, common name, centre and width in micrometres) of each asset,
# as the recorded sentinel-2-l2a items state them.
S2_GSD_M: dict[str, int] = (
    dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
    | dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12", "SCL"), 20)
    | dict.fromkeys(("B01", "B09"), 60)
)
_S2_BANDS: dict[str, tuple[str, str | None, float, float]] = {
    "B01": ("Band 1 - Coastal aerosol", "coastal", 0.443, 0.027),
    "B02": ("Band 2 - Blue", "blue", 0.49, 0.098),
    "B03": ("Band 3 - Green", "green", 0.56, 0.045),
    "B04": ("Band 4 - Red", "red", 0.665, 0.038),
    "B05": ("Band 5 - Vegetation red edge 1", "rededge", 0.704, 0.019),
    "B06": ("Band 6 - Vegetation red edge 2", "rededge", 0.74, 0.018),
    "B07": ("Band 7 - Vegetation red edge 3", "rededge", 0.783, 0.028),
    "B08": ("Band 8 - NIR", "nir", 0.842, 0.145),
    "B09": ("Band 9 - Water vapor", None, 0.945, 0.026),
    "B11": ("Band 11 - SWIR (1.6)", "swir16", 1.61, 0.143),
    "B12": ("Band 12 - SWIR (2.2)", "swir22", 2.19, 0.242),
    "B8A": ("Band 8A - Vegetation red edge 4", "rededge", 0.865, 0.033),
}
_S2_SHARES = (
    "water",
    "vegetation",
    "snow_ice",
    "not_vegetated",
    "dark_features",
    "unclassified",
    "cloud_shadow",
    "thin_cirrus",
    "medium_proba_clouds",
    "high_proba_clouds",
    "nodata_pixel",
    "degraded_msi_data",
    "saturated_defective_pixel",
)


def s2_item(
    *,
    tile: str,
    acquired: dt.datetime,
    platform: Literal["S2A", "S2B"],
    relative_orbit: int,
    orbit_state: OrbitState,
    baseline: str,
    cloud_cover: float,
    footprint: shapely.Polygon,
    generated: dt.datetime | None = None,
    strip_start: dt.datetime | None = None,
    solar_zenith: float = 40.0,
    solar_azimuth: float = 160.0,
    percentages: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """A raw `sentinel-2-l2a` item.

    Args:
        tile: such as "33UUU".
        acquired: start of the datatake, UTC: the item's `datetime` and a part of its id.
        baseline: processing baseline such as "05.10".
        cloud_cover: percent of the scene.
        footprint: valid pixels, longitude and latitude in degrees.
        generated: time of processing, the last part of the id; 3 hours after `acquired` when not given.
        strip_start: sensing start of the data strip; equal to `acquired` when not given. Two strips of one
            datatake have two values.
        solar_zenith: degrees.
        solar_azimuth: degrees.
        percentages: overrides for the `s2:*_percentage` properties by their short name, such as
            {"vegetation": 61.5}. Otherwise clouds count as high probability and all else as unclassified.
    """
    generated = generated or acquired + dt.timedelta(hours=3)
    strip_start = strip_start or acquired
    absolute = orbits.absolute_orbit(platform, acquired, footprint.centroid.y)
    start, made = _stamp(acquired), _stamp(generated)
    item_id = f"{platform}_MSIL2A_{start}_R{relative_orbit:03d}_T{tile}_{made}"
    safe = f"{platform}_MSIL2A_{start}_N{baseline.replace('.', '')}_R{relative_orbit:03d}_T{tile}_{made}.SAFE"
    centre = "ESRI" if float(baseline) < 4 else "MSFT"  # who ran Sen2Cor for the Planetary Computer
    operation = f"{platform}_OPER_MSI_L2A"
    properties: dict[str, Any] = {
        "datetime": _iso(acquired),
        "platform": f"Sentinel-{platform[1:]}",
        "proj:epsg": tile_origin(tile)[0],
        "instruments": ["msi"],
        "s2:mgrs_tile": tile,
        "constellation": "Sentinel 2",
        "s2:granule_id": f"{operation}_TL_{centre}_{made}_A{absolute:06d}_T{tile}_N{baseline}",
        "eo:cloud_cover": cloud_cover,
        "s2:datatake_id": f"G{platform}_{start}_{absolute:06d}_N{baseline}",
        "s2:product_uri": safe,
        "s2:datastrip_id": f"{operation}_DS_{centre}_{made}_S{_stamp(strip_start)}_N{baseline}",
        "s2:product_type": "S2MSI2A",
        "sat:orbit_state": orbit_state,
        "s2:datatake_type": "INS-NOBS",
        "s2:generation_time": _iso(generated),
        "sat:relative_orbit": relative_orbit,
        "s2:mean_solar_zenith": solar_zenith,
        "s2:mean_solar_azimuth": solar_azimuth,
        "s2:processing_baseline": baseline,
        "s2:reflectance_conversion_factor": reflectance_conversion(acquired),
    }
    properties |= _percentages(cloud_cover, percentages or {})
    granule = f"L2A_T{tile}_A{absolute:06d}_{_stamp(strip_start)}"
    folder = f"{S2_BLOBS}/{tile[:2]}/{tile[2]}/{tile[3:]}/{acquired:%Y/%m/%d}/{safe}/GRANULE/{granule}/IMG_DATA"
    assets = {name: _s2_asset(name, tile, f"{folder}/R{gsd}m/T{tile}_{start}") for name, gsd in S2_GSD_M.items()}
    extensions = ("eo/v1.0.0", "sat/v1.0.0", "projection/v1.1.0")
    return _item(item_id, S2_COLLECTION, footprint, properties, dict(sorted(assets.items())), extensions)


def s1_item(
    *,
    started: dt.datetime,
    stopped: dt.datetime,
    platform: Literal["S1A", "S1B", "S1C"],
    orbit_state: OrbitState,
    relative_orbit: int,
    absolute_orbit: int,
    epsg: int,
    west_m: float,
    north_m: float,
    width_px: int,
    height_px: int,
    footprint: shapely.Polygon,
    datatake: int | None = None,
) -> dict[str, Any]:
    """A raw `sentinel-1-rtc` item: VV and VH of one IW slice on a 10 m UTM grid.

    Args:
        west_m: west edge of the north-west pixel; so `north_m`.
        footprint: valid pixels, longitude and latitude in degrees.
        datatake: mission datatake number; about eight an orbit when not given.
    """
    datatake = datatake if datatake is not None else absolute_orbit * 8
    grd = f"{platform}_IW_GRDH_1SDV_{_stamp(started)}_{_stamp(stopped)}_{absolute_orbit:06d}_{datatake:06X}"
    product = f"{grd}_{zlib.crc32(grd.encode()) & 0xFFFF:04X}"
    bounds = [west_m, north_m - height_px * S1_GSD_M, west_m + width_px * S1_GSD_M, north_m]
    properties: dict[str, Any] = {
        "datetime": _iso(started + (stopped - started) / 2),
        "platform": f"SENTINEL-{platform[1:]}",
        "s1:shape": [width_px, height_px],  # columns first, as the real items have it
        "proj:bbox": [float(edge) for edge in bounds],
        "proj:epsg": epsg,
        "proj:shape": [height_px, width_px],
        "end_datetime": _blank_iso(stopped),
        "constellation": "Sentinel-1",
        "s1:resolution": "high",
        "proj:transform": [float(S1_GSD_M), 0.0, float(west_m), 0.0, -float(S1_GSD_M), float(north_m), 0.0, 0.0, 1.0],
        "s1:datatake_id": str(datatake),
        "start_datetime": _blank_iso(started),
        "s1:orbit_source": "RESORB",
        "s1:slice_number": "1",
        "s1:total_slices": "1",
        "sar:looks_range": 5,
        "sat:orbit_state": orbit_state,
        "sar:product_type": "GRD",
        "sar:looks_azimuth": 1,
        "sar:polarizations": ["VV", "VH"],
        "sar:frequency_band": "C",
        "sat:absolute_orbit": absolute_orbit,
        "sat:relative_orbit": relative_orbit,
        "s1:processing_level": "1",
        "sar:instrument_mode": "IW",
        "sar:center_frequency": 5.405,
        "sar:resolution_range": 20,
        "s1:product_timeliness": "Fast-24h",
        "sar:resolution_azimuth": 22,
        "sar:pixel_spacing_range": 10,
        "sar:observation_direction": "right",
        "sar:pixel_spacing_azimuth": 10,
        "sar:looks_equivalent_number": 4.4,
        "s1:instrument_configuration_ID": "7",
        "sat:platform_international_designator": orbits.DESIGNATOR[platform],
    }
    day = f"{started.year}/{started.month}/{started.day}"  # without leading zeros
    folder = f"{S1_BLOBS}/GRD/{day}/IW/DV/{product}/measurement"
    assets = {name: _s1_asset(name, f"{folder}/iw-{name}.rtc.tiff") for name in ("vh", "vv")}
    extensions = ("sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "file/v2.0.0", "raster/v1.1.0")
    item = _item(f"{grd}_rtc", S1_COLLECTION, footprint, properties, assets, extensions)
    source = {"rel": "derived_from", "href": f"{API}/collections/sentinel-1-grd/items/{grd}"}
    item["links"].insert(-1, source | {"type": "application/json", "title": "Sentinel 1 GRD Item"})
    return item


def blob_path(href: str) -> PurePosixPath:
    """Where an archive keeps the blob of an asset href, signed or not: "<account>/<container>/<path>".

    Raises:
        DeepSentinelError: not an href of Azure blob storage.
    """
    parts = urlsplit(href)
    host = parts.hostname or ""
    path = PurePosixPath(unquote(parts.path.lstrip("/")))
    listed = "comp=list" in parts.query.split("&")  # the container itself
    if not host.endswith(_BLOB_HOST) or len(path.parts) < 2 - listed or ".." in path.parts or path.is_absolute():
        raise DeepSentinelError(f"{href} is not a blob; expected http(s)://<account>{_BLOB_HOST}/<container>/<path>")
    return PurePosixPath(host.removesuffix(_BLOB_HOST)) / path


def write_item(archive: Path, item: Mapping[str, Any]) -> Path:
    """Write an item into an archive that already holds its blobs; Sentinel-1 assets get their size and MD5.

    Returns:
        The file `items/<collection>/<id>.json`.

    Raises:
        OutputExistsError: the archive has an item of this id.
        DeepSentinelError: a blob of the item is missing.
    """
    path: Path = archive / "items" / item["collection"] / f"{item['id']}.json"
    if path.exists():
        raise OutputExistsError(f"archive {archive} already has an item {item['id']}; two scenes may not share an id")
    assets = {name: _with_file_facts(archive, item, asset) for name, asset in item["assets"].items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(item) | {"assets": assets}, indent=1) + "\n")
    return path


def reflectance_conversion(time: dt.datetime) -> float:
    """`s2:reflectance_conversion_factor`: the Earth-Sun distance correction, unitless.

    Source: Sentinel-2 Level-1C technical guide, U = 1 / (1 - e cos(0.0172 (t - 2)))^2, t in days since 1950.
    """
    days = (time - dt.datetime(1950, 1, 1, tzinfo=dt.UTC)).total_seconds() / 86_400
    return float((1 - 0.01673 * math.cos(0.0172 * (days - 2))) ** -2)


def _item(
    item_id: str,
    collection: str,
    footprint: shapely.Polygon,
    properties: dict[str, Any],
    assets: dict[str, Any],
    extensions: tuple[str, ...],
) -> dict[str, Any]:
    geometry, bbox = cut(footprint)
    home = f"{API}/collections/{collection}"
    view = f"https://planetarycomputer.microsoft.com/api/data/v1/item/map?collection={collection}&item={item_id}"
    return {
        "id": item_id,
        "bbox": bbox,
        "type": "Feature",
        "links": [
            {"rel": "collection", "type": "application/json", "href": home},
            {"rel": "parent", "type": "application/json", "href": home},
            {"rel": "root", "type": "application/json", "href": f"{API}/"},
            {"rel": "self", "type": "application/geo+json", "href": f"{home}/items/{item_id}"},
            {"rel": "license", "href": LICENSE},
            {"rel": "preview", "href": view, "title": "Map of item", "type": "text/html"},
        ],
        "assets": assets,
        "geometry": json.loads(shapely.to_geojson(geometry)),
        "collection": collection,
        "properties": properties,
        "stac_extensions": [_EXTENSION.format(name) for name in extensions],
        "stac_version": "1.0.0",
    }


def _s2_asset(name: str, tile: str, stem: str) -> dict[str, Any]:
    gsd_m = S2_GSD_M[name]
    _, west, north = tile_origin(tile)
    side_px, side_m = TILE_SIDE_PX * 10 // gsd_m, TILE_SIDE_PX * 10
    asset: dict[str, Any] = {
        "href": f"{stem}_{name}_{gsd_m}m.tif",
        "proj:bbox": [float(west), float(north - side_m), float(west + side_m), float(north)],
        "proj:shape": [side_px, side_px],
        "proj:transform": [float(gsd_m), 0.0, float(west), 0.0, -float(gsd_m), float(north)],
        "gsd": float(gsd_m),
        "type": COG_TYPE,
        "roles": ["data"],
    }
    if name == "SCL":
        return asset | {"title": "Scene classfication map (SCL)"}  # spelt so in the real items
    title, common_name, centre, width = _S2_BANDS[name]
    band: dict[str, Any] = {"name": name, "description": title, "center_wavelength": centre}
    band |= {"full_width_half_max": width} | ({"common_name": common_name} if common_name else {})
    return asset | {"title": f"{title} - {gsd_m}m", "eo:bands": [band]}


def _s1_asset(name: str, href: str) -> dict[str, Any]:
    received = {"vv": "vertical", "vh": "horizontal"}[name]
    return {
        "href": href,
        "type": COG_TYPE,
        "roles": ["data"],
        "title": f"{name.upper()}: vertical transmit, {received} receive",
        "description": (
            "Terrain-corrected gamma naught values of signal transmitted with vertical polarization and received with "
            f"{received} polarization with radiometric terrain correction applied."
        ),
        "raster:bands": [{"nodata": int(S1_NODATA), "data_type": "float32", "spatial_resolution": float(S1_GSD_M)}],
    }


def _percentages(cloud_cover: float, given: Mapping[str, float]) -> dict[str, float]:
    unknown = sorted(set(given) - set(_S2_SHARES))
    if unknown:
        raise DeepSentinelError(f"no such Sentinel-2 percentages: {unknown}; choose from {_S2_SHARES}")
    shares = dict.fromkeys(_S2_SHARES, 0.0)
    shares |= {"high_proba_clouds": cloud_cover, "unclassified": 100.0 - cloud_cover} | dict(given)
    return {f"s2:{name}_percentage": share for name, share in shares.items()}


def _with_file_facts(archive: Path, item: Mapping[str, Any], asset: dict[str, Any]) -> dict[str, Any]:
    blob = archive / "blobs" / blob_path(asset["href"])
    if not blob.is_file():
        raise DeepSentinelError(f"item {item['id']} lists {asset['href']}, but {blob} is missing; write blobs first")
    if item["collection"] != S1_COLLECTION:
        return asset
    digest = hashlib.md5(blob.read_bytes(), usedforsecurity=False).hexdigest()
    return asset | {"file:size": blob.stat().st_size, "file:checksum": digest}


def _stamp(time: dt.datetime) -> str:
    return time.strftime("%Y%m%dT%H%M%S")


def _iso(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _blank_iso(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")
