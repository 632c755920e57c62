"""An archive from real pixels: each site becomes one Sentinel-1 and one Sentinel-2 scene of full size.

A Sentinel-2 tile's grid is a multiple of 60 m, and so is the grid of every other tile of its zone. A site whose files
state another origin is moved to the nearest such place, both sensors alike, and its items say by how much
(`sandbox:shift_m`). Pixels keep their values: digital numbers as they are, dB as linear power that converts
back to the same hundredth of a dB.

These sources have no scene classification. Theirs is class 7 (unclassified) where all bands are valid, else 0.
Their cloud cover is unknown and stated as 0.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.bands import S1_SCALE_DB
from catalog.errors import GridError
from catalog.mgrs import TILE_SIDE_PX, tile_of, tile_origin, transformer
from ingest.radiometry import stored_gamma0
from ingest.sandbox import orbits
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sandbox.items import S1_NODATA, S2_GSD_M, blob_path, s1_item, s2_item, write_item
from ingest.sandbox.sites import Site, read_sites

LATTICE_M = 60  # coarsest band of Sentinel-2: the origin of every tile is a multiple of it
FRAME_PX = (21_000, 27_000)  # rows and columns of a usual sentinel-1-rtc scene
SCL_UNCLASSIFIED = 7  # Sen2Cor scene classification, "unclassified"


@dataclass(frozen=True, slots=True)
class Placed:
    """A site on the grid of a Sentinel-2 tile."""

    site: Site
    tile: str
    """The tile whose 100 km square holds the site's centre."""
    west_m: int
    north_m: int

    @property
    def shift_m(self) -> tuple[float, float]:
        """How far the site was moved, east and north, rounded to a millimetre."""
        return round(self.west_m - self.site.west_m, 3), round(self.north_m - self.site.north_m, 3)

    @property
    def bounds_m(self) -> tuple[int, int, int, int]:
        """West, south, east, north."""
        side_m = self.site.side_px * 10
        return self.west_m, self.north_m - side_m, self.west_m + side_m, self.north_m

    def footprint(self) -> shapely.Polygon:
        """Outline in longitude and latitude, degrees."""
        west, south, east, north = self.bounds_m
        lon, lat = transformer(self.site.epsg, 4326).transform([west, east, east, west], [south, south, north, north])
        return shapely.Polygon(list(zip(lon, lat, strict=True)))


def write_real_archive(sources: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    """Write an archive from folders of real pixels, `sites.json` and a region file a site with it.

    Args:
        sources: folders of a layout that `ingest.sandbox.sites` knows.
        out: a new folder.

    Returns:
        The records of `sites.json`.

    Raises:
        OutputExistsError: two sites would have one scene id.
        DeepSentinelError: a source that cannot be read.
    """
    records = [_write_site(out, place(site)) for source in sources for site in read_sites(source)]
    facts = {"kind": "real", "sources": [source.name for source in sources], "sites": len(records)}
    _write_json(out / "archive.json", facts)
    _write_json(out / "sites.json", records)
    return records


def place(site: Site) -> Placed:
    """Move a site to the nearest place on the lattice of its zone.

    Raises:
        GridError: the site leaves the tile that holds its centre.
    """
    west, north = (round(edge / LATTICE_M) * LATTICE_M for edge in (site.west_m, site.north_m))
    half = site.side_px * 5
    tile = tile_of(site.epsg, west + half, north - half)
    _, tile_west, tile_north = tile_origin(tile)
    side_m, tile_side_m = site.side_px * 10, TILE_SIDE_PX * 10
    if not (0 <= west - tile_west <= tile_side_m - side_m and 0 <= tile_north - north <= tile_side_m - side_m):
        raise GridError(f"site {site.name} at ({west}, {north}) leaves tile {tile}; leave this site out")
    return Placed(site, tile, west, north)


def linear_power(decibels: NDArray[np.floating]) -> NDArray[np.float32]:
    """dB as linear power, -32768 where not finite.

    The smallest change of a float32 can carry a value that lies between two hundredths of a dB to the wrong one, so
    those are moved by one step of float32 (3e-7 dB) towards the hundredth that the dB themselves round to.
    """
    exact = decibels.astype(np.float64)
    valid = np.isfinite(exact)
    exact = np.where(valid, exact, 0.0)
    power = np.power(10.0, exact / 10).astype(np.float32)
    wanted = np.rint(exact / S1_SCALE_DB)
    for _ in range(2):
        wrong = wanted - stored_gamma0(power)
        power = np.where(wrong == 0, power, np.nextafter(power, np.where(wrong > 0, np.inf, 0).astype(np.float32)))
    return np.where(valid, power, np.float32(S1_NODATA)).astype(np.float32)


def _write_site(out: Path, placed: Placed) -> dict[str, Any]:
    s1, s2 = _write_s1(out, placed), _write_s2(out, placed)
    record = {
        "site": placed.site.name,
        "s1_item": s1["id"],
        "s2_item": s2["id"],
        "epsg": placed.site.epsg,
        "bounds_m": list(placed.bounds_m),
        "shift_m": list(placed.shift_m),
        "files": list(placed.site.files),
    }
    geometry = json.loads(shapely.to_geojson(placed.footprint()))
    feature = {"type": "Feature", "properties": {"site": placed.site.name}, "geometry": geometry}
    _write_json(out / "regions" / f"{placed.site.name}.geojson", {"type": "FeatureCollection", "features": [feature]})
    return record


def _write_s1(out: Path, placed: Placed) -> dict[str, Any]:
    passed = placed.site.s1_pass
    row, col = ((length - placed.site.side_px) // 2 for length in FRAME_PX)
    frame = {"epsg": placed.site.epsg, "west_m": placed.west_m - col * 10, "north_m": placed.north_m + row * 10}
    frame |= {"height_px": FRAME_PX[0], "width_px": FRAME_PX[1]}
    item = s1_item(
        started=passed.started,
        stopped=passed.stopped,
        platform=passed.platform,
        orbit_state="ascending" if passed.ascending else "descending",
        relative_orbit=orbits.relative_orbit(passed.platform, passed.absolute_orbit),
        absolute_orbit=passed.absolute_orbit,
        datatake=passed.datatake,
        footprint=placed.footprint(),
        **frame,
    )
    for name, decibels in placed.site.s1_db.items():
        tags = {"Polarization": name.upper(), "SARPixelContent": "intensity", "Scale": "linear"}
        windows = [Window(row, col, linear_power(decibels))]
        path = out / "blobs" / blob_path(item["assets"][name]["href"])
        write_sparse_cog(path, gsd_m=10, windows=windows, nodata=S1_NODATA, tags=tags, **frame)
    return _write_item(out, item, placed)


def _write_s2(out: Path, placed: Placed) -> dict[str, Any]:
    passed = placed.site.s2_pass
    bands: dict[str, NDArray[Any]] = {**placed.site.s2, "SCL": _unclassified(placed.site.s2)}
    filled = 100.0 * placed.site.side_px**2 / TILE_SIDE_PX**2
    item = s2_item(
        tile=placed.tile,
        acquired=passed.acquired,
        platform=passed.platform,
        relative_orbit=passed.relative_orbit,
        orbit_state="descending",
        baseline=passed.baseline,
        cloud_cover=0.0,
        footprint=placed.footprint(),
        percentages={"nodata_pixel": round(100.0 - filled, 6)},
    )
    _, west, north = tile_origin(placed.tile)
    for name, pixels in bands.items():
        gsd_m = S2_GSD_M[name]
        side_px = TILE_SIDE_PX * 10 // gsd_m
        row, col = (north - placed.north_m) // gsd_m, (placed.west_m - west) // gsd_m
        write_sparse_cog(
            out / "blobs" / blob_path(item["assets"][name]["href"]),
            epsg=placed.site.epsg,
            west_m=west,
            north_m=north,
            width_px=side_px,
            height_px=side_px,
            gsd_m=gsd_m,
            windows=[Window(row, col, pixels)],
            nodata=0,
        )
    return _write_item(out, item, placed)


def _unclassified(bands: Mapping[str, NDArray[np.uint16]]) -> NDArray[np.uint8]:
    """Scene classification at 20 m: 7 where every 20 m band is valid."""
    valid = np.all([pixels != 0 for name, pixels in bands.items() if S2_GSD_M[name] == 20], axis=0)
    return np.where(valid, SCL_UNCLASSIFIED, 0).astype(np.uint8)


def _write_item(out: Path, item: dict[str, Any], placed: Placed) -> dict[str, Any]:
    item["properties"] |= {
        "sandbox:shift_m": list(placed.shift_m),
        "sandbox:bounds_m": list(placed.bounds_m),
        "sandbox:files": list(placed.site.files),
    }
    write_item(out, item)
    return item


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
