"""Folders of real co-located pixels, read into one form: a site with its two passes.

Two layouts are known by their content:

TerraMesh examples (as in IBM's TerraMind repository): S1RTC/*.tif (VV and VH in dB, tag datetime), S2L2A/*.tif (12
bands repeated to 10 m), LULC/*.tif (its tag datetime is Sentinel-2's time). They name no satellite and no orbit: the
satellite is the one whose orbit crosses the site at that time, which also gives the orbit number.

BigEarthNet: S1/<name>/ and S2/<name>/ with one file a band and *_labels_metadata.json, which names the products.

Both state no direction of flight. Sentinel-1 flies along the terminator, so it ascends in the evening and descends
in the morning, local time; Sentinel-2 images the day side while it descends.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from catalog.bands import S2
from catalog.errors import DeepSentinelError
from catalog.mgrs import transformer
from catalog.patch import parse_time
from ingest.sandbox import orbits
from ingest.sandbox.items import S2_GSD_M

NO_OFFSET_BASELINE = "02.12"  # what the Planetary Computer processed its archive before 2022 with
_OFFSET_DN = 1000  # added by baseline 04.00 and later; so a smaller valid DN shows that it is absent
_TERRAMESH_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_SLICE = dt.timedelta(seconds=25)  # length of a Sentinel-1 IW slice
_GRD = re.compile(r"^(S1[ABC])_IW_GRDH_1SDV_(\d{8}T\d{6})_(\d{8}T\d{6})_(\d{6})_([0-9A-F]{6})")
_L1C = re.compile(r"^(S2[AB])_MSIL1C_\d{8}T\d{5,6}_N(\d{2})(\d{2})_R(\d{3})_")


@dataclass(frozen=True, slots=True)
class RadarPass:
    """A Sentinel-1 slice."""

    platform: Literal["S1A", "S1B", "S1C"]
    started: dt.datetime
    stopped: dt.datetime
    absolute_orbit: int
    datatake: int | None
    ascending: bool


@dataclass(frozen=True, slots=True)
class OpticalPass:
    """A Sentinel-2 datatake."""

    platform: Literal["S2A", "S2B"]
    acquired: dt.datetime
    relative_orbit: int
    baseline: str


@dataclass(frozen=True, slots=True)
class Site:
    """Co-located pixels of both sensors, as a source gives them."""

    name: str
    epsg: int
    west_m: float
    """West edge as the files state it."""
    north_m: float
    side_px: int
    """Of 10 m."""
    s1_db: Mapping[str, NDArray[np.floating]]
    """"vv" and "vh", gamma0 or sigma0 in dB; NaN is nodata."""
    s2: Mapping[str, NDArray[np.uint16]]
    """Digital numbers by band, each at its native resolution; 60 m pixels may reach beyond the site."""
    s1_pass: RadarPass
    s2_pass: OpticalPass
    files: tuple[str, ...]
    """Source files or folders, relative to the parent of the source folder."""


def read_sites(source: Path) -> Iterator[Site]:
    """Every site of a folder, in the order of its file names.

    Raises:
        DeepSentinelError: a folder of neither layout, or files that break their layout's rules.
    """
    if (source / "S1RTC").is_dir() and (source / "S2L2A").is_dir() and (source / "LULC").is_dir():
        yield from (_terramesh_site(source, path) for path in sorted((source / "S2L2A").glob("*.tif")))
    elif (source / "S1").is_dir() and (source / "S2").is_dir():
        yield from (_bigearthnet_site(source, folder) for folder in sorted((source / "S1").iterdir()))
    else:
        found = sorted(path.name for path in source.iterdir())[:8] if source.is_dir() else "no folder"
        raise DeepSentinelError(
            f"{source} is not a known layout; expected S1RTC, S2L2A and LULC (TerraMesh) or S1 and S2 (BigEarthNet), "
            f"found {found}"
        )


def _terramesh_site(source: Path, path: Path) -> Site:
    radar = _read(source / "S1RTC" / path.name)
    optical = _read(path)
    _require(optical.pixels.shape[0] == len(_TERRAMESH_BANDS), path, "12 bands")
    _require(optical.pixels.min() >= 0, path, "digital numbers of at least 0")
    _require(np.allclose(radar.origin, optical.origin, atol=0.01), path, "the origin of its S1RTC file")
    bands = dict(zip(_TERRAMESH_BANDS, optical.pixels.astype(np.uint16), strict=True))
    lon, lat = _centre(optical)
    acquired = parse_time(_read(source / "LULC" / path.name).tags["datetime"][:26])
    folders = ("S1RTC", "S2L2A", "LULC")
    return Site(
        name=path.stem,
        epsg=optical.epsg,
        west_m=optical.origin[0],
        north_m=optical.origin[1],
        side_px=optical.pixels.shape[1],
        s1_db=dict(zip(("vv", "vh"), radar.pixels, strict=True)),
        s2={name: _native(path, name, pixels) for name, pixels in bands.items()},
        s1_pass=_inferred_radar_pass(parse_time(radar.tags["datetime"][:26]), lon, lat),
        s2_pass=_inferred_optical_pass(path, acquired, lat, int(optical.pixels[optical.pixels > 0].min())),
        files=tuple(f"{source.name}/{folder}/{path.name}" for folder in folders),
    )


def _bigearthnet_site(source: Path, folder: Path) -> Site:
    s1_facts = json.loads((folder / f"{folder.name}_labels_metadata.json").read_text())
    s2_folder = source / "S2" / s1_facts["corresponding_s2_patch"]
    s2_facts = json.loads((s2_folder / f"{s2_folder.name}_labels_metadata.json").read_text())
    radar = {name: _read(folder / f"{folder.name}_{name.upper()}.tif") for name in ("vv", "vh")}
    optical = {band.name: _read(s2_folder / f"{s2_folder.name}_{band.name}.tif") for band in S2}
    for raster in (*radar.values(), *optical.values()):
        _require(raster.origin == radar["vv"].origin, s2_folder, f"every file to start at {radar['vv'].origin}")
    lon, _ = _centre(radar["vv"])
    return Site(
        name=folder.name,
        epsg=radar["vv"].epsg,
        west_m=radar["vv"].origin[0],
        north_m=radar["vv"].origin[1],
        side_px=radar["vv"].pixels.shape[1],
        s1_db={name: raster.pixels[0] for name, raster in radar.items()},
        s2={name: raster.pixels[0] for name, raster in optical.items()},
        s1_pass=_named_radar_pass(s1_facts["scene_source"], lon),
        s2_pass=_named_optical_pass(s2_facts["tile_source"], parse_time(s2_facts["acquisition_date"])),
        files=(f"{source.name}/S1/{folder.name}", f"{source.name}/S2/{s2_folder.name}"),
    )


@dataclass(frozen=True, slots=True)
class _Raster:
    pixels: NDArray[Any]
    """Axes band y x."""
    epsg: int
    origin: tuple[float, float]
    gsd_m: float
    tags: dict[str, str]


def _read(path: Path) -> _Raster:
    import rasterio

    if not path.is_file():
        raise DeepSentinelError(f"{path} is missing; its layout needs it")
    with rasterio.open(path) as file:
        transform = file.transform
        return _Raster(file.read(), file.crs.to_epsg(), (transform.c, transform.f), transform.a, file.tags())


def _native(path: Path, name: str, pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Undo the repetition of a 20 or 60 m band to 10 m; a part of a pixel at the edge still tells its value."""
    factor = S2_GSD_M[name] // 10
    native = pixels[::factor, ::factor]
    height, width = pixels.shape
    repeated = native.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    _require(np.array_equal(repeated, pixels), path, f"{name} in equal blocks of {factor} x {factor} pixels")
    return native


def _require(holds: Any, path: Path, rule: str) -> None:
    if not holds:
        raise DeepSentinelError(f"{path} breaks its layout, which has {rule}; leave this site out")


def _centre(raster: _Raster) -> tuple[float, float]:
    """Longitude and latitude, degrees."""
    half = raster.pixels.shape[1] * raster.gsd_m / 2
    lon, lat = transformer(raster.epsg, 4326).transform(raster.origin[0] + half, raster.origin[1] - half)
    return float(lon), float(lat)


def _ascending(time: dt.datetime, lon_deg: float) -> bool:
    """Sentinel-1 crosses the equator at 18:00 local mean solar time ascending, at 6:00 descending."""
    return (time + dt.timedelta(hours=lon_deg / 15)).hour >= 12


def _inferred_radar_pass(started: dt.datetime, lon_deg: float, lat_deg: float) -> RadarPass:
    ascending = _ascending(started, lon_deg)
    satellites: tuple[Literal["S1A", "S1B"], ...] = ("S1A", "S1B")
    platform = orbits.likeliest_platform(satellites, started, lat_deg, ascending=ascending)
    orbit = orbits.absolute_orbit(platform, started, lat_deg, ascending=ascending)
    return RadarPass(platform, started, started + _SLICE, orbit, None, ascending)


def _inferred_optical_pass(path: Path, acquired: dt.datetime, lat_deg: float, smallest_dn: int) -> OpticalPass:
    _require(smallest_dn < _OFFSET_DN, path, "digital numbers without the offset of baseline 04.00")
    satellites: tuple[Literal["S2A", "S2B"], ...] = ("S2A", "S2B")
    platform = orbits.likeliest_platform(satellites, acquired, lat_deg)
    orbit = orbits.absolute_orbit(platform, acquired, lat_deg)
    return OpticalPass(platform, acquired, orbits.relative_orbit(platform, orbit), NO_OFFSET_BASELINE)


def _named_radar_pass(product: str, lon_deg: float) -> RadarPass:
    platform, start, stop, orbit, datatake = _match(_GRD, product)
    started, stopped = (dt.datetime.strptime(time + "Z", "%Y%m%dT%H%M%S%z") for time in (start, stop))
    ascending = _ascending(started, lon_deg)
    return RadarPass(platform, started, stopped, int(orbit), int(datatake, 16), ascending)  # type: ignore[arg-type]


def _named_optical_pass(product: str, acquired: dt.datetime) -> OpticalPass:
    """The baseline is that of the Level-1C product BigEarthNet processed itself: 02.0x, so without offset."""
    platform, major, minor, orbit = _match(_L1C, product)
    return OpticalPass(platform, acquired, int(orbit), f"{major}.{minor}")  # type: ignore[arg-type]


def _match(pattern: re.Pattern[str], product: str) -> tuple[str, ...]:
    match = pattern.match(product)
    if match is None:
        raise DeepSentinelError(f"{product!r} is not a product name of the form {pattern.pattern}")
    return match.groups()
