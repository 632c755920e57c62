"""What the demo found: a short table on the terminal and a page to look at."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.report import Section, figure, mosaic, paragraph, table, write_report
from catalog.corpus import Corpus
from catalog.preview import corine, encode_webp
from dsjax.recorder import read_metrics
from dsjax.runs import read_config
from ingest.ledger import BuildSummary, read_rows, summarise

_PREVIEWS = 12
_LIBRARIES = ("deepsentinel", "jax", "flax", "optax", "zarr", "numpy", "rasterio", "pystac")


def report(out: Path, names: Sequence[str], seconds: Mapping[str, float]) -> Path:
    """Gather what the stages left on disk; write report.html and report.json and print the table.

    Args:
        out: folder of the demo.
        names: its corpora.
        seconds: how long each stage took, by its program; stages done before are missing.
    """
    corpora = {name: Corpus.open(out / "catalog" / name, columns=None) for name in names}
    ledgers = {name: summarise(read_rows(out / name / "ledger")) for name in names}
    metrics = read_metrics(out / "run")
    scores_file = out / "run" / "scores.json"
    scores = json.loads(scores_file.read_text()) if scores_file.exists() else None
    sections = [_corpora_section(corpora, ledgers), *(_previews_section(out, *named) for named in corpora.items())]
    sections.append(_training_section(metrics, read_config(out / "run").augmented_from_step))
    if scores is not None:
        sections.append(_probe_section(scores))
    sections.append(_about_section(seconds))
    numbers = {
        "patches": {name: len(corpus) for name, corpus in corpora.items()},
        "skipped": {name: dict(ledger.skipped) for name, ledger in ledgers.items()},
        "seconds": dict(seconds),
        "loss": {"first": metrics[0]["loss"], "last": metrics[-1]["loss"]},
        "scores": scores,
        "versions": _versions(),
    }
    _print(ledgers, metrics, scores, seconds)
    page = write_report(out, "DeepSentinel demo", sections, numbers)
    Console().print(f"\n[bold]{page}[/bold] shows previews, a map, the loss and the probe")
    return page


def _training_section(metrics: Sequence[Mapping[str, float]], augmented_from_step: int) -> Section:
    told = (
        "Loss and spread over steps. Up to the dashed line the two views of a patch are made ever less alike, which "
        "raises the loss: what it was before compares with nothing after."
    )
    return Section("Pre-training", figure(figures.training_curves(metrics, augmented_from_step), told))


def _corpora_section(corpora: Mapping[str, Corpus], ledgers: Mapping[str, BuildSummary]) -> Section:
    tables = {name: corpus.table for name, corpus in corpora.items()}
    rows = [
        (name, ledger.planned, ledger.written, sum(ledger.skipped.values()), _reasons(ledger))
        for name, ledger in ledgers.items()
    ]
    return Section(
        "Corpora",
        table(("corpus", "places tried", "patches written", "skipped", "why"), rows)
        + figure(figures.world_map(tables), "Where the patches lie.")
        + figure(figures.pair_quality(tables), "Time between the two images of a patch, and its clouds."),
    )


def _previews_section(out: Path, name: str, corpus: Corpus) -> Section:
    rows = np.linspace(0, len(corpus) - 1, _PREVIEWS).astype(int)
    folder = out / "catalog" / name / "previews"
    ids = [(corpus.table["deepsentinel:shard"][i].as_py(), corpus.table["id"][i].as_py()) for i in rows.tolist()]
    kinds = {"rgb": "Sentinel-2, true colour", "sar": "Sentinel-1: VV red, VH green, VV/VH blue"}
    body = "".join(
        mosaic([folder / f"{shard:06d}" / f"{patch_id}-{kind}.webp" for shard, patch_id in ids], f"{caption}.")
        for kind, caption in kinds.items()
    )
    if "corine" in corpus.arrays:
        body += mosaic(_label_previews(out / "labels", corpus, rows), "CORINE Land Cover in its official colours.")
    return Section(f"Patches of the {name} corpus", body)


def _label_previews(folder: Path, corpus: Corpus, rows: np.ndarray) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for i, codes in zip(rows.tolist(), corpus.read(rows, ["corine"])["corine"], strict=True):
        paths.append(folder / f"{corpus.table['id'][i].as_py()}.webp")
        paths[-1].write_bytes(encode_webp(corine(codes)))
    return paths


def _probe_section(scores: Mapping[str, Any]) -> Section:
    rows = [
        (s["sensors"], s["encoder"], s["probe"], s["estimate"]["value"], _interval(s["estimate"]), _gain(s))
        for s in scores["scores"]
        if s["metric"] == "accuracy"
    ]
    crops = ", ".join(f"{count} {split}" for split, count in scores["crops"].items())
    classes = ", ".join(f"{code} ({count})" for code, count in scores["classes"].items())
    return Section(
        "What the frozen encoder knows",
        paragraph(
            f"Land cover of crops ({crops}), classes by CORINE code with test crops: {classes}. Floors: the same "
            "encoder before training (random), and means and deviations of the bands (statistics). Intervals are 95 % "
            "bootstrap over patches."
        )
        + figure(figures.probe_bars(scores["scores"]), "Accuracy of the linear probe.")
        + table(("sensors", "encoder", "probe", "accuracy", "95 %", "pre-trained adds"), rows),
    )


def _about_section(seconds: Mapping[str, float]) -> Section:
    times = [(stage, round(spent)) for stage, spent in seconds.items()]
    return Section(
        "How it was made",
        table(("stage", "seconds"), times) + table(("library", "version"), sorted(_versions().items())),
    )


def _print(
    ledgers: Mapping[str, BuildSummary],
    metrics: Sequence[Mapping[str, float]],
    scores: Mapping[str, Any] | None,
    seconds: Mapping[str, float],
) -> None:
    shown = Table(title="DeepSentinel demo", show_header=False, title_justify="left")
    for name, ledger in ledgers.items():
        spent = seconds.get(f"ingest.build {name}")
        rate = f", {ledger.written / spent:.1f} patches/s" if spent else ""
        shown.add_row(f"{name} patches", f"{ledger.written}{rate}")
        shown.add_row(f"{name} skipped", _reasons(ledger))
    shown.add_row("loss", f"{metrics[0]['loss']:.3f} -> {metrics[-1]['loss']:.3f} in {metrics[-1]['step']:.0f} steps")
    for sensors in ("s1", "s2", "both") if scores else ():
        found = {
            s["encoder"]: s["estimate"]["value"]
            for s in scores["scores"]
            if (s["sensors"], s["probe"], s["metric"]) == (sensors, "linear", "accuracy")
        }
        shown.add_row(f"linear probe, {sensors}", ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    shown.add_row("time", f"{sum(seconds.values()):.0f} s")
    Console().print(shown)


def _reasons(ledger: BuildSummary) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in ledger.skipped.most_common()) or "none"


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['low']:.3f} to {estimate['high']:.3f}"


def _gain(score: Mapping[str, Any]) -> str:
    gain = score["gain"]
    return f"{gain['value']:+.3f} ({_interval(gain)})" if gain else ""


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
