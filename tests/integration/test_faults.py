"""Every trouble that users report of the real service, injected one by one: the right pixels, or the right reason.

`python tests/integration/test_faults.py` writes the table of docs/faults.md from `FAULTS`; a test keeps it current.
"""

import contextlib
import dataclasses
import datetime as dt
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.warp import Resampling, calculate_default_transform, reproject

from catalog.errors import DeepSentinelError
from catalog.grid import cell_at
from catalog.mgrs import transformer, utm_epsg
from catalog.patch import parse_time
from catalog.shard import list_shards, open_array, provenance_of, shard_path, shard_ref
from ingest import search
from ingest.build import Build, match_places, run
from ingest.footprints import cut
from ingest.ledger import read_rows
from ingest.radiometry import stored_gamma0
from ingest.sample import Sample, read_plan, write_plan
from ingest.sample import run as sample
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sandbox.faults import Faults
from ingest.sandbox.items import blob_path
from ingest.sandbox.passes import to_lon_lat
from ingest.sandbox.regions import SimulatedRegion
from ingest.sandbox.server import Sandbox
from ingest.sandbox.simulate import simulate

TABLE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
PIXELS = ("s2_10m", "s2_20m", "scl", "s1")
CELL_PX, WANTED, SHARD_ROWS = 128, 8, 4  # 16 cells: eight wanted, eight in reserve

SAME_BYTES = "the bytes of a build without it"
SAME_PIXELS = "the pixels of a build without it"
REFUSED = "an error, before anything is read"

Change = Callable[[Path], None]
Edit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From pixels and the x of their columns' centres in metres to new pixels."""


def items(archive: Path, collection: str) -> list[Path]:
    return sorted((archive / "items" / collection).glob("*.json"))


def edit_items(collection: str, change: Callable[[dict[str, Any]], None]) -> Change:
    """Change what items of a collection say; their images stay."""

    def apply(archive: Path) -> None:
        for path in items(archive, collection):
            item = json.loads(path.read_text())
            change(item)
            path.write_text(json.dumps(item))

    return apply


def edit_images(collection: str, names: tuple[str, ...], edit: Edit, **changes: Any) -> Change:
    """Write images of a collection anew; items stay."""

    def apply(archive: Path) -> None:
        for path in items(archive, collection):
            assets = json.loads(path.read_text())["assets"]
            for name in names:
                file = archive / "blobs" / blob_path(assets[name]["href"])
                rewrite(file, file, edit, **changes)

    return apply


def rewrite(source: Path, target: Path, edit: Edit, **changes: Any) -> None:
    """Write a sparse image again with other pixels, in `target`."""
    with rasterio.open(source) as image:
        made = {
            "epsg": image.crs.to_epsg(), "west_m": image.transform.c, "north_m": image.transform.f,
            "width_px": image.width, "height_px": image.height, "gsd_m": image.transform.a, "nodata": image.nodata,
        }  # fmt: skip
        windows = []
        for place, block in image.block_windows(1):
            if is_present(image, place):
                pixels = image.read(1, window=block)
                x_m = image.transform.c + (block.col_off + np.arange(block.width) + 0.5) * image.transform.a
                windows.append(Window(block.row_off, block.col_off, edit(pixels, x_m)))
    write_sparse_cog(target, windows=windows, **(made | changes))


def is_present(image: Any, place: tuple[int, int]) -> bool:
    """Whether a block, by row and column, is in a sparse file."""
    row, col = place
    return image.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1) is not None


def raised_by_1000(pixels: np.ndarray, x_m: np.ndarray) -> np.ndarray:
    return np.where(pixels == 0, 0, pixels + 1000).astype(pixels.dtype)


def say_baseline(baseline: str) -> Change:
    return edit_items(S2, lambda item: item["properties"].update({"s2:processing_baseline": baseline}))


def only_between(low_m: float, high_m: float) -> Edit:
    return lambda pixels, x_m: np.where((x_m > low_m) & (x_m < high_m), pixels, 0).astype(pixels.dtype)


def swap(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    def change(item: dict[str, Any]) -> None:
        one, other = item["assets"][first], item["assets"][second]
        one["href"], other["href"] = other["href"], one["href"]

    return change


def all_of(*changes: Change) -> Change:
    def apply(archive: Path) -> None:
        for change in changes:
            change(archive)

    return apply


def wrong_projection(item: dict[str, Any]) -> None:
    """As items of 2024-10-15 to 12-30 have it: a positive y step and an origin between pixels."""
    properties = item["properties"]
    west, south, east, north = properties["proj:bbox"]
    height, width = properties["proj:shape"]
    properties["proj:transform"] = [10.0, 0.0, west + 3.7, 0.0, 10.0, south + 3.7, 0, 0, 1]
    properties |= {"proj:shape": [width, height], "proj:bbox": [south, west, north, east]}


def projection_2(item: dict[str, Any]) -> None:
    """As STAC's projection extension 2 states the zone."""
    item["properties"]["proj:code"] = f"EPSG:{item['properties'].pop('proj:epsg')}"


def later(days: int) -> Callable[[dict[str, Any]], None]:
    """Move a scene in time."""

    def change(item: dict[str, Any]) -> None:
        for name in ("datetime", "start_datetime", "end_datetime"):
            moved = parse_time(item["properties"][name]) + dt.timedelta(days=days)
            item["properties"][name] = moved.isoformat()

    return change


def horizontal_too(archive: Path) -> None:
    """A radar scene in HH and HV, nearer in time to the optical one than that in VV and VH."""
    (path,), (optical,) = items(archive, S1), items(archive, S2)
    item = json.loads(path.read_text())
    taken = json.loads(optical.read_text())["properties"]["datetime"]
    item["properties"] |= {"datetime": taken, "sar:polarizations": ["HH", "HV"]}
    item["assets"] = {name.replace("v", "h", 1): asset for name, asset in item["assets"].items()}
    item["id"] = item["id"].replace("1SDV", "1SDH")
    path.with_name(f"{item['id']}.json").write_text(json.dumps(item))


def in_decibels(pixels: np.ndarray, x_m: np.ndarray) -> np.ndarray:
    return np.where(pixels > 0, 10 * np.log10(np.maximum(pixels, 1e-9)), pixels).astype("f4")


def cut_files(archive: Path) -> None:
    for path in archive.glob("blobs/**/*_B03_10m.tif"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def copy_scene(archive: Path, path: Path, stamp: str, edit: Edit) -> tuple[Path, dict[str, Any]]:
    """Another processing of a Sentinel-2 scene: item and images under another processing time, with other pixels."""
    text = path.read_text()
    old = path.stem.rpartition("_")[2]
    item, before = json.loads(text.replace(old, stamp)), json.loads(text)
    for name, asset in item["assets"].items():
        source = archive / "blobs" / blob_path(before["assets"][name]["href"])
        target = archive / "blobs" / blob_path(asset["href"])
        target.parent.mkdir(parents=True, exist_ok=True)
        rewrite(source, target, edit)
    return path.with_name(path.name.replace(old, stamp)), item


def second_processing(archive: Path) -> None:
    """An older processing of the same strip, with other pixels, beside the present one."""
    (path,) = items(archive, S2)
    other, item = copy_scene(archive, path, "20180605T110000", lambda pixels, _: (pixels // 2).astype(pixels.dtype))
    item["properties"]["s2:generation_time"] = "2018-06-05T11:00:00.000000Z"
    other.write_text(json.dumps(item))


def made_again(archive: Path) -> None:
    """The scene under another processing time, and nothing left of the old one."""
    (path,) = items(archive, S2)
    old = json.loads(path.read_text())
    other, item = copy_scene(archive, path, "20180605T150000", lambda pixels, _: pixels)
    other.write_text(json.dumps(item))
    path.unlink()
    for asset in old["assets"].values():
        (archive / "blobs" / blob_path(asset["href"])).unlink(missing_ok=True)


def radar_moved(archive: Path) -> None:
    """The images of the radar scene under other paths; its id stays."""
    (path,) = items(archive, S1)
    item = json.loads(path.read_text())
    for name in ("vv", "vh"):
        old = item["assets"][name]["href"]
        item["assets"][name]["href"] = new = old.replace(f"iw-{name}", f"iw-{name}-2")
        assert new != old
        (archive / "blobs" / blob_path(old)).rename(archive / "blobs" / blob_path(new))
    path.write_text(json.dumps(item))


def cloudy_scene_after(archive: Path) -> None:
    """An overcast scene two days later, which searches list first and no patch is read from."""
    (path,) = items(archive, S2)
    item = json.loads(path.read_text().replace("20180605", "20180607").replace("2018-06-05", "2018-06-07"))
    item["properties"]["eo:cloud_cover"] = 99.0
    path.with_name(f"{item['id']}.json").write_text(json.dumps(item))


def two_strips(archive: Path) -> None:
    """The scene cut in two, as where a data strip ends: two items of one datatake, each with half of the pixels."""
    (path,) = items(archive, S2)
    region = json.loads((archive / "archive.json").read_text())["regions"][0]
    west, south, east, north = region["window_m"]
    middle = (west + east) / 2
    halves = []
    for stamp, strip, low, high in (
        ("20180605T130000", "S20180605T093008", west - 60, middle + 60),
        ("20180605T140000", "S20180605T093917", middle - 60, east + 60),
    ):
        other, item = copy_scene(archive, path, stamp, only_between(low, high))
        outline = to_lon_lat(shapely.box(low + 30, south - 10, high - 30, north + 10), region["epsg"])
        item |= {"geometry": json.loads(shapely.to_geojson(outline)), "bbox": list(outline.bounds)}
        properties = item["properties"]
        properties["s2:datastrip_id"] = properties["s2:datastrip_id"].replace("S20180605T093008", strip)
        halves.append((other, item))
    path.unlink()
    for other, item in halves:
        other.write_text(json.dumps(item))


def into_next_zone(archive: Path) -> None:
    """Radar scenes in the UTM zone to the west, as at a zone's edge."""

    def change(item: dict[str, Any]) -> None:
        for name in ("vv", "vh"):
            reproject_file(archive / "blobs" / blob_path(item["assets"][name]["href"]))
        item["properties"]["proj:epsg"] -= 1

    edit_items(S1, change)(archive)


def reproject_file(path: Path) -> None:
    with rasterio.open(path) as image:
        block = next(block for place, block in image.block_windows(1) if is_present(image, place))
        window = rasterio.windows.Window(block.col_off - 512, block.row_off - 512, 2560, 2560)
        pixels, crs = image.read(1, window=window), image.crs
        corner = image.transform.c + window.col_off * 10, image.transform.f - window.row_off * 10
    transform = rasterio.transform.from_origin(*corner, 10, 10)
    there = rasterio.crs.CRS.from_epsg(crs.to_epsg() - 1)
    bounds = corner[0], corner[1] - 25_600, corner[0] + 25_600, corner[1]
    made, width, height = calculate_default_transform(crs, there, 2560, 2560, *bounds, resolution=10)
    west, north = round(made.c, -1), round(made.f, -1)
    moved = np.full((height, width), -32768, np.float32)
    aligned = rasterio.transform.from_origin(west, north, 10, 10)
    reproject(
        pixels, moved, src_transform=transform, src_crs=crs, src_nodata=-32768, dst_transform=aligned, dst_crs=there,
        dst_nodata=-32768, resampling=Resampling.nearest,
    )  # fmt: skip
    write_sparse_cog(
        path, epsg=there.to_epsg(), west_m=west, north_m=north, width_px=width, height_px=height, gsd_m=10,
        windows=[Window(0, 0, moved)], nodata=-32768,
    )  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One trouble, how it is made here, and what a build must make of it."""

    name: str
    seen: str
    """Where the real service shows it."""
    injected: str
    outcome: str
    """`SAME_BYTES`, `SAME_PIXELS`, `REFUSED`, or the reason that the ledger gives for every place that is left out."""
    change: Change | None = None
    """What is done to a copy of the archive."""
    server: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    page_items: int | None = None
    meanwhile: Change | None = None
    """What is done to it between the search for scenes and their reading; the ledger tells `evidence` of it."""
    evidence: str = ""
    """What the ledger's detail, or the error, must say."""


FAULTS = (
    Fault(
        "expired token", "tokens live 45 minutes (PC#295, PC#388)", "all tokens expire in the middle of the build",
        SAME_BYTES,
        server={"faults": Faults(tokens_expire_at=20)},
    ),
    Fault(
        "token that lives a second", "clock skew, long reads", "tokens of 1 s, 20 ms a request", SAME_BYTES,
        server={"token_ttl_s": 1, "latency_s": 0.02},
    ),
    Fault(
        "429 storm", "search and token endpoints limit rates (PC#457, PC#415)",
        "every second search and token request answers 429", SAME_BYTES,
        server={"faults": Faults(search_429_every=2, token_429_every=2)},
    ),
    Fault(
        "504 storm", "searches time out for days (PC#427, PC#476, PC#498)", "every second search answers 504",
        SAME_BYTES,
        server={"faults": Faults(search_504_every=2)},
    ),
    Fault(
        "lost next links", "January 2026, for days (PC#469)", "full pages without rel=next", SAME_BYTES,
        server={"faults": Faults(drop_next_links=True)}, page_items=1, change=cloudy_scene_after,
    ),
    Fault(
        "short page", "a page may hold fewer items than asked for", "half a page and a link to the rest", SAME_BYTES,
        server={"faults": Faults(short_page_every=1)}, change=cloudy_scene_after,
    ),
    Fault(
        "search answer cut", "connections break in the body", "every second search answer ends halfway", SAME_BYTES,
        server={"faults": Faults(search_cut_every=2)},
    ),
    Fault(
        "hole in the snapshot", "only one part of it was there (PC#446)", "no file of Sentinel-2; searches come second",
        SAME_BYTES,
        server={"faults": Faults(missing_blobs=("pcstacitems/items/sentinel-2-l2a.parquet/*",))},
        options={"scenes": ("geoparquet", "search")},
    ),
    Fault(
        "blob storage busy", "503: egress over the account limit (PC#191)", "every fifth blob request answers 503",
        SAME_BYTES, server={"faults": Faults(blob_503_every=5)},
    ),
    Fault(
        "blob storage busy for longer than patience", "the same", "every blob request answers 503",
        "image_out_of_reach", server={"faults": Faults(blob_503_every=1)}, options={"patience_s": 0.0},
        evidence="busy or away",
    ),
    Fault(
        "XML error body", "status 200 with an error for a body (PC#264)", "every seventh blob request", SAME_BYTES,
        server={"faults": Faults(blob_xml_every=7)},
    ),
    Fault(
        "truncated range", "connections break in the body", "every seventh blob answer is cut in half", SAME_BYTES,
        server={"faults": Faults(blob_cut_every=7)},
    ),
    Fault(
        "404 blob", "items whose images were replaced or never came (PC#264)", "404 BlobNotFound for one band",
        "missing_image", server={"faults": Faults(missing_blobs=("*B11_20m.tif",))}, evidence="B11 of S2B",
    ),
    Fault(
        "broken image", "", "a band's file ends halfway", "damaged_image", change=cut_files, evidence="B03 of S2B",
    ),
    Fault(
        "wrong proj:*", "radar items of 2024-10 to 12 (PC#158, PC#417)",
        "positive y step, origin between pixels, shape and box swapped", SAME_BYTES,
        change=edit_items(S1, wrong_projection),
    ),
    Fault(
        "zone as proj:code", "items of projection extension 2", "proj:code for proj:epsg, both sensors", SAME_BYTES,
        change=all_of(edit_items(S1, projection_2), edit_items(S2, projection_2)),
    ),
    Fault(
        "no radar in time", "scenes are missing without notice (PC#266, PC#372)", "the radar scene is 5 days later",
        "no_s1_scene", change=edit_items(S1, later(5)), evidence="days away (limit 3)",
    ),
    Fault(
        "radar in HH and HV", "over the polar seas", "such a scene, nearer in time", SAME_BYTES, change=horizontal_too,
    ),
    Fault(
        "footprint of the whole tile", "on some older items (PC#220)", "the western half is nodata",
        "low_s2_valid_share", change=edit_images(S2, (*BANDS, "SCL"), only_between(338_560, 1e6)),
    ),
    Fault(
        "zero-filled scene", "parts of radar scenes are zeros (PC#493)", "all of VV is 0", "low_s1_valid_share",
        change=edit_images(S1, ("vv",), lambda pixels, _: pixels * 0), evidence="0.0000 of the pixels",
    ),
    Fault(
        "border zeros", "noise at the border of radar scenes before 2018 (PC#307)",
        "VV is 0 in the westernmost 300 m", "low_s1_valid_share",
        change=edit_images(S1, ("vv",), lambda pixels, x_m: np.where(x_m < 336_150, 0, pixels).astype("f4")),
    ),
    Fault(
        "missing nodata tag", "Sentinel-2 files without it (PC#460)", "no tag in any band, the western half is nodata",
        "low_s2_valid_share", change=edit_images(S2, (*BANDS, "SCL"), only_between(338_560, 1e6), nodata=None),
    ),
    Fault(
        "offset of baseline 04.00", "since 2022-01-25 digital numbers are 1000 higher", "baseline 05.10, pixels + 1000",
        SAME_PIXELS, change=all_of(say_baseline("05.10"), edit_images(S2, BANDS, raised_by_1000)),
    ),
    Fault(
        "doubled offset", "Earth Search sentinel-2-l2a: applied, and announced (earth-search#66, #71)",
        "baseline 05.10, pixels without the offset", "physics", change=say_baseline("05.10"),
        evidence="s2-offset-doubled",
    ),
    Fault(
        "offset unknown", "Earth Search sentinel-2-l2a states a flag that is wrong (earth-search#71)",
        "items with that flag", REFUSED, evidence="sentinel-2-c1-l2a",
        change=edit_items(S2, lambda item: item["properties"].update({"earthsearch:boa_offset_applied": True})),
    ),
    Fault(
        "no baseline", "", "items without it", "unknown_baseline", evidence="states no processing baseline",
        change=edit_items(S2, lambda item: item["properties"].pop("s2:processing_baseline")),
    ),
    Fault(
        "offset left in", "", "baseline 02.12, pixels + 1000", "physics",
        change=edit_images(S2, BANDS, raised_by_1000), evidence="s2-offset-missing",
    ),
    Fault(
        "swapped bands", "", "B08 and B04 exchanged", "physics", change=edit_items(S2, swap("B08", "B04")),
        evidence="s2-near-infrared",
    ),
    Fault(
        "radar in decibels", "", "VV and VH in decibels", "low_s1_valid_share",
        change=edit_images(S1, ("vv", "vh"), in_decibels),
    ),
    Fault(
        "swapped polarisations", "", "VV and VH exchanged", "physics", change=edit_items(S1, swap("vv", "vh")),
        evidence="s1-order",
    ),
    Fault(
        "two data strips", "14 of 14 pairs of one tile and time (1,100 real items)",
        "two items with half of the pixels each", SAME_PIXELS, change=two_strips,
    ),
    Fault(
        "duplicate processing", "the id changes when a scene is made again (PC#264)",
        "an older processing with other pixels", SAME_BYTES, change=second_processing,
    ),
    Fault(
        "scene made again during a build", "the old images are deleted (PC#264)",
        "after the search: other id, other paths, 404 BlobNotFound for the old ones", SAME_PIXELS,
        meanwhile=made_again, evidence="20180605T150000",
    ),
    Fault(
        "radar scene moved during a build", "assets are rewritten (PC#404)",
        "after the search: other paths under the same id", SAME_PIXELS, meanwhile=radar_moved,
        evidence="_rtc was made again",
    ),
)  # fmt: skip


def checksums(root: Path) -> list[Any]:
    return [shard_ref(root, index) for index in list_shards(root)]


def stored(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """Pixels by patch id, read with zarr-python."""
    found = {}
    for index in list_shards(root):
        arrays = {name: np.asarray(open_array(shard_path(root, index), name)[:]) for name in PIXELS}
        for row, provenance in enumerate(provenance_of(root, index)):
            found[provenance.patch_id] = {name: values[row] for name, values in arrays.items()}
    return found


def build(archive: Path, plan: Path, out: Path, server: Mapping[str, Any], **changes: Any) -> None:
    with Sandbox(archive, **server) as sandbox, sandbox.applied():
        run(Build(plan, out, **({"shard_rows": SHARD_ROWS} | changes)))


@pytest.fixture(scope="module")
def plan(tiny_archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "all.parquet"
    region = str(tiny_archive / "regions" / "tiny.geojson")
    sample(Sample(path, region=region, every_cell=True, start="2018-06-01", end="2018-06-10", side_px=CELL_PX))
    some = path.with_name("some.parquet")
    write_plan(dataclasses.replace(read_plan(path), count=WANTED), some)
    return some


@pytest.fixture(scope="module")
def undisturbed(tiny_archive, plan, tmp_path_factory):
    """The corpus, and the pixels of every cell."""
    folder = tmp_path_factory.mktemp("undisturbed")
    build(tiny_archive, plan, folder / "corpus", {})
    build(tiny_archive, plan.with_name("all.parquet"), folder / "all", {})
    return folder / "corpus", stored(folder / "all")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_gives_the_right_pixels_or_the_right_reason(
    fault, undisturbed, tiny_archive, plan, tmp_path, monkeypatch
):
    corpus, pixels = undisturbed
    archive, out = tiny_archive, tmp_path / "corpus"
    options = dict(fault.options)
    if fault.change or fault.meanwhile:
        archive = shutil.copytree(tiny_archive, tmp_path / "archive")
    if fault.change:
        fault.change(archive)
    if fault.page_items:
        monkeypatch.setattr(search, "PAGE_ITEMS", fault.page_items)
    if fault.meanwhile:
        options["index"] = tmp_path / "index"
        with Sandbox(archive) as sandbox, sandbox.applied():
            match_places(Build(plan, out, index=options["index"]), read_plan(plan), renew="all")
        fault.meanwhile(archive)
    refused = fault.outcome == REFUSED
    with pytest.raises(DeepSentinelError, match=fault.evidence) if refused else contextlib.suppress(DeepSentinelError):
        build(archive, plan, out, fault.server, **options)
    found = stored(out)
    for patch_id, arrays in found.items():  # whatever happens, nothing wrong is ever stored
        for name, values in arrays.items():
            np.testing.assert_array_equal(values, pixels[patch_id][name], err_msg=f"{patch_id} {name}")
    rows = [row for row in read_rows(out / "ledger") if row.status != "written"]
    if fault.outcome == SAME_BYTES:
        assert checksums(out) == checksums(corpus)
        assert read_rows(out / "ledger") == read_rows(corpus / "ledger")
    elif fault.outcome == SAME_PIXELS:
        assert len(found) == WANTED
        assert not rows
        if fault.meanwhile:
            assert all(fault.evidence in row.detail for row in read_rows(out / "ledger"))
    elif refused:
        assert not found
    else:
        assert {row.reason for row in rows if row.reason != "too_few_candidates"} == {fault.outcome}
        assert all(fault.evidence in row.detail for row in rows if row.reason == fault.outcome)
    assert not [path for path in out.rglob("*") if path.is_file() and b"sig=" in path.read_bytes()]


EDGES = {"antimeridian": (179.985, 68.0), "far_north": (-40.0, 82.5), "far_south": (-60.0, -78.5)}


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    """One cell of 256 px at each difficult place."""
    regions = []
    for name, (lon, lat) in EDGES.items():
        epsg = int(utm_epsg(lon, lat))
        cell = cell_at(epsg, *transformer(4326, epsg).transform(lon, lat))
        tile, row, column = cell.name.split("-")
        days = dt.date(2018, 6, 2), dt.date(2018, 6, 9)
        regions.append(SimulatedRegion(name, tile.upper(), int(row), int(column), 1, 1, *days, cloudiness=0.0))
    archive = tmp_path_factory.mktemp("edges") / "archive"
    simulate(regions, archive, seed=0, workers=1)
    outline = archive / "regions" / "antimeridian.geojson"
    drawn = json.loads(outline.read_text())
    whole = shapely.from_geojson(json.dumps(drawn["features"][0]["geometry"]))
    drawn["features"][0]["geometry"] = json.loads(shapely.to_geojson(cut(whole)[0]))  # as most programs draw it
    outline.write_text(json.dumps(drawn))
    return archive


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_difficult_places_give_their_files_pixels(edges, tmp_path):
    """Across the antimeridian and at 82.5 N; windows read with rasterio are the reference."""
    plan, out = tmp_path / "plan.parquet", tmp_path / "corpus"
    sample(Sample(plan, region=str(edges / "regions"), every_cell=True, start="2018-06-02", end="2018-06-10"))
    build(edges, plan, out, {}, scene_cloud_max=100.0)
    compared = 0
    for provenance in provenance_of(out, 0):
        pixels = stored(out)[provenance.patch_id]
        for number, name in enumerate(("B02", "B03", "B04", "B08")):
            with rasterio.open(edges / "blobs" / blob_path(provenance.s2["hrefs"][name])) as image:
                window = image.read(1, window=image.window(*provenance.grid.bounds_m))
            np.testing.assert_array_equal(pixels["s2_10m"][number], window)
        with rasterio.open(edges / "blobs" / blob_path(provenance.s1["hrefs"]["VV"])) as image:
            assert image.crs.to_epsg() == provenance.grid.epsg
            window = image.read(1, window=image.window(*provenance.grid.bounds_m))
        np.testing.assert_array_equal(pixels["s1"][0], stored_gamma0(window))
        compared += 1
    assert compared == len(EDGES)


# rasterio 1.4 multiplies transforms in the way that affine 3 will give up
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_radar_in_the_next_zone_is_the_nearest_pixel_and_flagged(tiny_archive, plan, undisturbed, tmp_path):
    """Nearest of nearest: nine in ten pixels come back, none is further than one pixel from where it was."""
    archive = shutil.copytree(tiny_archive, tmp_path / "archive")
    into_next_zone(archive)
    build(archive, plan, tmp_path / "corpus", {})
    quality = [provenance.quality for index in (0, 1) for provenance in provenance_of(tmp_path / "corpus", index)]
    assert len(quality) == WANTED
    assert all(one.s1_zone_changed for one in quality)
    for patch_id, arrays in stored(tmp_path / "corpus").items():
        before = undisturbed[1][patch_id]
        for name in ("s2_10m", "s2_20m", "scl"):
            np.testing.assert_array_equal(arrays[name], before[name])
        around = [np.roll(before["s1"], (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        inside = np.s_[:, 2:-2, 2:-2]
        assert np.any([arrays["s1"][inside] == shifted[inside] for shifted in around], axis=0).mean() > 0.999


def table() -> str:
    """The table of docs/faults.md."""
    head = (
        "# What goes wrong at the source, and what a build makes of it\n\n"
        "Every row is a test of `tests/integration/test_faults.py`: the trouble is injected into the sandbox's copy of "
        "the\nprovider, and the corpus is compared with one built without it. In every case all stored pixels are "
        "right.\n`PC#n` is an issue of microsoft/PlanetaryComputer.\n\n"
        "This file is generated: `python tests/integration/test_faults.py`.\n\n"
        "| Trouble | Seen on the real service | Injected | A build gives |\n|---|---|---|---|\n"
    )
    rows = [(fault.name, fault.seen, fault.injected, _gives(fault)) for fault in FAULTS]
    for name, (lon, lat) in EDGES.items():
        rows.append((name.replace("_", " "), "", f"a cell at {lon:g} E, {lat:g} N", "its files' pixels"))
    rows.append(
        ("radar in the next UTM zone", "one patch in eight", "VV and VH in that zone", "nearest pixels, flagged")
    )
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _gives(fault: Fault) -> str:
    if fault.outcome in (SAME_BYTES, SAME_PIXELS):
        return fault.outcome
    if fault.outcome == REFUSED:
        return f"{fault.outcome} ({fault.evidence})"
    return f"ledger: `{fault.outcome}`" + (f" ({fault.evidence})" if fault.evidence else "")


def test_the_table_in_the_docs_is_current():
    assert TABLE.read_text() == table(), "run: python tests/integration/test_faults.py"


if __name__ == "__main__":
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table())
