"""What pre-training adds, over seeds, on the simulated Earth and on real sites: `python -m benchmarks.quality`.

Takes the corpora that the demo leaves behind, pre-trains its preset once for each seed and probes each encoder beside
its floors. With `--real`, the same encoders, which never saw a real pixel, are probed on a few real sites, too.
"""

import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.pages import markdown_table, renewed
from catalog.corpus import Corpus
from catalog.errors import CorpusError
from catalog.program import main

REAL_SIDE_PX = 32  # a crop of 320 m: the least that the encoder takes, and sites are 224 px wide
_BLOCK_CELLS = 2  # neighbouring cells that go to one side of the split together
_ENCODERS = ("pretrained", "random", "statistics")
_PROBES = {"linear": "linear", "knn": "nearest neighbours"}
_SENSORS = {"s1": "Sentinel-1", "s2": "Sentinel-2", "both": "both"}
_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Quality:
    """Pre-train and probe over seeds.

    Example: python -m benchmarks.quality --demo runs/demo --seeds 0 1 2
    """

    demo: Path = Path("runs/demo")
    """Folder of a finished `make demo`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One pre-training each."""
    preset: str = "demo"
    """Preset of the pre-training."""
    overrides: tuple[str, ...] = ()
    """More options of dsjax.pretrain, such as --augment.s2-gain 0 (for ablations)."""
    real: Path | None = None
    """Folder of real sites in TerraMesh's layout (S1RTC, S2L2A, LULC)."""
    name: str = "quality"
    """Results go to benchmarks/results/NAME.json."""
    page: Path | None = None
    """Page whose tables are renewed, such as docs/quality.md."""


def run(options: Quality) -> None:
    """Measure, print the table and keep the numbers."""
    unlabelled, labelled = (options.demo / "catalog" / name for name in ("unlabelled", "labelled"))
    if not (labelled / "collection.json").is_file():
        raise CorpusError(
            f"{options.demo} holds no finished demo; run `make demo` first or give its folder with --demo"
        )
    runs = options.demo / f"{options.name}-runs"
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        folder = runs / f"seed-{seed}"
        if not (folder / "scores.json").exists():
            where = ("--corpus", unlabelled, "--out", folder, "--overwrite")
            _call("dsjax.pretrain", options.preset, *where, "--seed", seed, *options.overrides)
            _call("dsjax.evaluate", folder, "--corpus", labelled)
        rows += _rows("simulated", seed, json.loads((folder / "scores.json").read_text())["scores"])
    if options.real is not None:
        with tempfile.TemporaryDirectory() as scratch:
            corpus, classes = real_corpus(options.real, Path(scratch))
            for seed in options.seeds:
                rows += _rows("real sites", seed, score_real(runs / f"seed-{seed}", corpus, classes))
    show(rows)
    _keep(options, rows)
    if options.page is not None:
        options.page.write_text(renewed(options.page.read_text(), "benchmarks.quality", tables(rows)))


def real_corpus(data: Path, scratch: Path) -> tuple[Corpus, NDArray[np.int64]]:
    """Cells of real sites, ingested through the sandbox, and the majority land-cover class of each."""
    from catalog.publish import publish
    from ingest.build import Build
    from ingest.build import run as build
    from ingest.limits import Limits
    from ingest.sample import Sample
    from ingest.sample import run as sample
    from ingest.sandbox.real import write_real_archive
    from ingest.sandbox.server import Sandbox

    archive, plan, out = scratch / "archive", scratch / "plan.parquet", scratch / "unlabelled"
    write_real_archive([data], archive)
    sites = json.loads((archive / "sites.json").read_text())
    tiles = tuple(sorted({site["s2_item"].split("_T")[1][:5] for site in sites}))
    sample(
        Sample(
            plan, region=str(archive / "regions"), every_cell=True, tiles=tiles, stratum_days=4000,
            start="2017-01-01", end="2024-01-01", side_px=REAL_SIDE_PX,
        )
    )  # fmt: skip
    with Sandbox(archive) as sandbox, sandbox.applied():
        anything = Limits(s1_valid_min=0.0, s2_valid_min=0.0, patch_cloud_max=1.0, physics="warn")
        build(Build(plan, out, scene_cloud_max=100.0, limits=anything))
    publish([out], scratch / "catalog", workers=1, show_progress=False)
    corpus = Corpus.open(scratch / "catalog" / "unlabelled")
    return corpus, np.array([_land_cover(data, sites, patch) for patch in corpus])


def score_real(run_folder: Path, corpus: Corpus, classes: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Scores of one run on the real cells, in the form of scores.json."""
    from dsjax.checkpoints import load_encoder
    from dsjax.evaluate import Crops, Evaluate, score

    splits = np.array([_split(patch.provenance.grid) for patch in corpus])
    counts = {code: ((classes == code) & (splits == "train")).sum() for code in np.unique(classes)}
    kept = np.isin(classes, [code for code, count in counts.items() if count >= 3 and code > 0])
    used = kept[:, None, None]
    crops = Crops(classes[kept], np.flatnonzero(kept), splits[kept], used)
    config = Evaluate(run_folder, corpus.href, crop_px=REAL_SIDE_PX)
    scores, _ = score(load_encoder(run_folder), corpus, crops, REAL_SIDE_PX, config)
    return [asdict(one) for one in scores]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Accuracy of each encoder, mean over seeds, and the least that pre-training adds in any seed."""
    table = Table("where", "sensors", "probe", "encoder", "accuracy", "range over seeds", "lowest bound of the gain")
    for where, sensors, probe, encoder in dict.fromkeys(_key(row) for row in rows):
        found = [row for row in rows if _key(row) == (where, sensors, probe, encoder)]
        values = [row["value"] for row in found]
        bound = "" if found[0]["gain_low"] is None else f"{_least_gain(found):+.3f}"
        spread = f"{min(values):.3f} to {max(values):.3f}"
        table.add_row(where, sensors, probe, encoder, f"{np.mean(values):.3f}", spread, bound)
    Console(width=120).print(table)


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """For each corpus and probe the mean over seeds of every encoder, in Markdown."""
    parts = []
    for where in dict.fromkeys(row["where"] for row in rows):
        lines = [_line(rows, where, probe, sensors) for probe in _PROBES for sensors in _SENSORS]
        head = ("sensors", "probe", "pre-trained", "random", "least gain over random", "image statistics")
        parts.append(f"**{where[0].upper()}{where[1:]}**\n\n{markdown_table(head, filter(None, lines))}")
    return "\n\n".join(parts)


def _line(rows: Sequence[dict[str, Any]], where: str, probe: str, sensors: str) -> list[str] | None:
    found = {encoder: [row for row in rows if _key(row) == (where, sensors, probe, encoder)] for encoder in _ENCODERS}
    if not all(found.values()):
        return None
    pretrained, untrained, statistics = (f"{np.mean([row['value'] for row in one]):.3f}" for one in found.values())
    gain = f"{_least_gain(found['random']):+.3f}"
    return [_SENSORS[sensors], _PROBES[probe], pretrained, untrained, gain, statistics]


def _least_gain(rows: Sequence[dict[str, Any]]) -> float:
    """The lowest lower bound, over the seeds, of what pre-training adds."""
    return min(float(row["gain_low"]) for row in rows)


def _land_cover(data: Path, sites: Sequence[dict[str, Any]], patch: Any) -> int:
    """The class of the 10 m land-cover map that most of a cell has."""
    grid = patch.provenance.grid
    site = next(site for site in sites if site["s2_item"] == patch.provenance.s2["item_id"])
    left, top = (grid.west_m - site["bounds_m"][0]) // 10, (site["bounds_m"][3] - grid.north_m) // 10
    with rasterio.open(data / "LULC" / f"{site['site']}.tif") as image:
        cover = image.read(1)[top : top + REAL_SIDE_PX, left : left + REAL_SIDE_PX]
    return int(np.bincount(cover.ravel()).argmax())


def _split(grid: Any) -> str:
    """A chequerboard of blocks of two by two cells; in four sites there is no better way to keep neighbours apart."""
    step = grid.side_m * _BLOCK_CELLS
    row, column = grid.north_m // step, grid.west_m // step
    return ("train", "test", "test", "val")[(row % 2) * 2 + column % 2] if (row + column) % 4 else "train"


def _rows(where: str, seed: int, scores: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in scores:
        if one["metric"] == "accuracy":
            yield {
                "where": where, "seed": seed, "sensors": one["sensors"], "probe": one["probe"],
                "encoder": one["encoder"], "value": one["estimate"]["value"], "low": one["estimate"]["low"],
                "high": one["estimate"]["high"], "gain": one["gain"] and one["gain"]["value"],
                "gain_low": one["gain"] and one["gain"]["low"],
            }  # fmt: skip


def _key(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return row["where"], row["sensors"], row["probe"], row["encoder"]


def _keep(options: Quality, rows: Sequence[dict[str, Any]]) -> None:
    arguments = " ".join(["python -m benchmarks.quality", *sys.argv[1:]])
    libraries = {name: version(name) for name in ("deepsentinel", "jax", "flax", "scikit-learn")}
    record = {
        "command": arguments,
        "date": f"{dt.date.today()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": libraries,
        "overrides": options.overrides,
        "rows": list(rows),
    }
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{options.name}.json").write_text(json.dumps(record, indent=1))


def _call(module: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


if __name__ == "__main__":
    main(Quality, run)
