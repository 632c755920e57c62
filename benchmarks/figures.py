"""The plots of the reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from matplotlib.figure import Figure

from ingest.regions import region

COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df")
ENCODERS = {"pretrained": COLOURS[0], "random": "#8c959f", "statistics": "#d0d7de"}
SENSORS = {"s1": "Sentinel-1", "s2": "Sentinel-2", "both": "both"}
_LINE = {"linewidth": 0.4, "color": "#8c959f"}
# A legend above the axes hides no bar.
_ABOVE: dict[str, Any] = {"ncols": 3, "loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "fontsize": 8}


def world_map(corpora: Mapping[str, pa.Table]) -> Figure:
    """Where the patches lie: on the world, and each corpus in its own window."""
    plot = Figure(figsize=(11, 3.6))
    world, *windows = plot.subplots(1, 1 + len(corpora), width_ratios=[2.2] + [1] * len(corpora))
    for part in shapely.get_parts(region("land")):
        world.plot(*part.exterior.xy, **_LINE)
    for (name, table), axes, colour in zip(corpora.items(), windows, COLOURS, strict=False):
        west, south, east, north = (np.array(table[side].to_pylist()) for side in ("west", "south", "east", "north"))
        world.plot(
            (west + east) / 2, (south + north) / 2, "s", color=colour, markersize=5, label=f"{name} ({len(west)})"
        )
        axes.add_collection(_boxes(west, south, east, north, colour))
        axes.set(title=name, xlabel="longitude", ylabel="latitude", aspect=1 / np.cos(np.radians(south.mean())))
        axes.autoscale_view()
    world.set(xlim=(-180, 180), ylim=(-60, 84), title="places", aspect="equal")
    world.legend(loc="lower left", fontsize=8)
    plot.tight_layout()
    return plot


def _boxes(west: np.ndarray, south: np.ndarray, east: np.ndarray, north: np.ndarray, colour: str) -> Any:
    from matplotlib.collections import PolyCollection

    corners = np.stack([np.stack([west, west, east, east], 1), np.stack([south, north, north, south], 1)], axis=-1)
    return PolyCollection(corners, facecolors=colour, edgecolors="white", linewidths=0.3, alpha=0.35)


def pair_quality(corpora: Mapping[str, pa.Table]) -> Figure:
    """Hours between the two images of a patch, and its share of cloud."""
    plot = Figure(figsize=(9, 2.8))
    gap, cloud = plot.subplots(1, 2)
    for (name, table), colour in zip(corpora.items(), COLOURS, strict=False):
        hours = np.abs(table["deepsentinel:gap_hours"].to_numpy())
        shares = 100 * table["deepsentinel:cloud_share"].to_numpy()
        gap.hist(hours, bins=np.arange(0, 73, 4), color=colour, alpha=0.6, label=name)
        cloud.hist(shares, bins=np.linspace(0, 50, 26), color=colour, alpha=0.6, label=name)
    gap.set(xlabel="hours between Sentinel-1 and Sentinel-2", ylabel="patches")
    cloud.set(xlabel="cloud in the patch, %", ylabel="patches", yscale="log")
    gap.legend(**_ABOVE)
    plot.tight_layout()
    return plot


def training_curves(metrics: Sequence[Mapping[str, float]], augmented_from_step: int) -> Figure:
    """Loss, and how far the projections are from collapse, over steps; a dashed line where augmentation has grown."""
    plot = Figure(figsize=(9, 2.8))
    loss, spread = plot.subplots(1, 2)
    steps = [line["step"] for line in metrics]
    loss.plot(steps, [line["loss"] for line in metrics], color=COLOURS[0])
    loss.axvline(augmented_from_step, color="#8c959f", linestyle="--", linewidth=1)
    loss.set(xlabel="step", ylabel="NT-Xent loss")
    for name, colour in (("projection", COLOURS[2]), ("embedding", COLOURS[3])):
        spread.plot(steps, [line[f"{name}_spread"] for line in metrics], color=colour, label=name)
    spread.set(xlabel="step", ylabel="spread (0 is collapse)", ylim=(0, 1.05))
    spread.legend()
    plot.tight_layout()
    return plot


def probe_bars(scores: Sequence[Mapping[str, Any]], probe: str = "linear") -> Figure:
    """Accuracy of a probe with its bootstrap interval, for each subset of sensors."""
    plot = Figure(figsize=(8, 3))
    axes = plot.subplots()
    found = {
        (s["encoder"], s["sensors"]): s["estimate"] for s in scores if (s["probe"], s["metric"]) == (probe, "accuracy")
    }
    for offset, (encoder, colour) in zip((-0.27, 0.0, 0.27), ENCODERS.items(), strict=True):
        estimates = [found[encoder, sensors] for sensors in SENSORS]
        values = np.array([estimate["value"] for estimate in estimates])
        errors = np.abs([[estimate["low"], estimate["high"]] for estimate in estimates] - values[:, None]).T
        axes.bar(np.arange(3) + offset, values, 0.25, yerr=errors, color=colour, label=encoder, capsize=3)
    axes.set_xticks(range(3), SENSORS.values())
    axes.set(ylabel=f"accuracy of the {probe} probe", ylim=(0, 1))
    axes.legend(**_ABOVE)
    plot.tight_layout()
    return plot
