"""docs/loader.md, made from the record of `benchmarks.loader`."""

from collections.abc import Mapping, Sequence
from typing import Any

TITLES = {
    "decode-bound": "decoding alone: chunks in memory, one small buffer",
    "reader": "**this project**, `Corpus.read`",
    "reader-one-thread": "this project, one thread",
    "tensorstore": "tensorstore, all futures of a batch at once",
    "zarrs": "zarr-python with the zarrs pipeline, `array[i]`",
    "zarr-python": "zarr-python, `array[i]`",
    "icechunk-reader": "icechunk, a file a chunk, `array[i]`",
    "icechunk-shards-reader": "icechunk, shards as here, `array[i]`",
    "host": "**this project**, `training_batches`: integers, prepared on the device",
    "host-shards": "the same, shard by shard",
    "floats": "**this project**, `CubeReader`: float32 on the host",
    "floats-jit": "this project, `training_batches` and a compiled function on the CPU",
    "npz": "DeepSentinel 2020: float32 `.npz`",
    "lmdb": "LMDB of safetensors (rico-hdl)",
    "webdataset": "WebDataset: tar of `.npy`",
    "terramesh": "TerraMesh: tar of zipped Zarr",
    "geotiff": "GeoTIFF, 12 and 2 bands, deflate",
    "torchgeo": "TorchGeo's SSL4EO-S12 class, a GeoTIFF a band",
}
_READERS = (
    "decode-bound",
    "reader",
    "reader-one-thread",
    "tensorstore",
    "zarrs",
    "zarr-python",
    "icechunk-reader",
    "icechunk-shards-reader",
)
_LOADERS = (
    "host",
    "host-shards",
    "floats",
    "floats-jit",
    "npz",
    "lmdb",
    "webdataset",
    "terramesh",
    "geotiff",
    "torchgeo",
)


def page(record: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page as Markdown.

    Args:
        others: records of other machines, whose times beside the goals are shown, too.
    """
    parts = [
        "# Loading patches: measured\n",
        f"Made by `{record['command'].split(' --')[0]}` on {record['date']}; the numbers stand in "
        "`benchmarks/results/loader.json`.\n",
        f"{record['patches']} patches of 256 px ({record['pixels']}), batches of 64, two threads or worker processes, "
        f"page cache warm, {record['cpu']}, load average {record['load_average']:.0f}. "
        "CPU: user and system milliseconds a patch, all processes of a pipeline, "
        f"median of {record['rounds']} rounds in which all took turns, each after loading all once to warm up "
        "(least and most in brackets).\n",
        "## Reading stored integers\n",
        _table(record, _READERS, "reader"),
        "## Batches for training\n",
        "Ours in integers leave the rest to the device. All others are float32 at 10 m, standardised: "
        "`(64, 12, 256, 256)` and `(64, 2, 256, 256)`; peers through PyTorch's DataLoader.\n",
        _table(record, _LOADERS, "floats"),
        "## Against the goals\n",
        _goals(record),
        *(part for other in others for part in _elsewhere(other)),
        "## Stored bytes\n",
        _bytes(record),
        "## Over HTTP\n",
        _remote(record["remote"]),
    ]
    if record["not_run"]:
        parts += ["## Not run\n", *(f"- {TITLES.get(name, name)}: {why}\n" for name, why in record["not_run"].items())]
    return "\n".join(parts)


def _table(record: Mapping[str, Any], names: tuple[str, ...], base: str) -> str:
    own = record["pipelines"][base]["cpu_ms_per_patch"]
    rows = [f"| | CPU ms a patch | times `{base}` | patches/s | resident MB |", "|---|---|---|---|---|"]
    for name in [name for name in names if name in record["pipelines"]]:
        found = record["pipelines"][name]
        low, high = found["cpu_ms_least_and_most"]
        cpu = found["cpu_ms_per_patch"]
        rows.append(
            f"| {TITLES[name]} | {cpu:.2f} ({low:.2f}..{high:.2f}) | {cpu / own:.2f} | {found['patches_per_s']:.0f} | "
            f"{found['rss_mb']} |"
        )
    return "\n".join(rows) + "\n"


def _elsewhere(record: Mapping[str, Any]) -> list[str]:
    """Goals of CPU alone."""
    return [
        f"### On {record['cpu']}, {record['date']}\n",
        f"By the reader of that day, not warmed up before each turn; load average {record['load_average']:.0f}.\n",
        "\n".join(_cpu_goals(record)) + "\n",
    ]


def _cpu_goals(record: Mapping[str, Any]) -> list[str]:
    rows = ["| ours | against | goal | found | | decoding alone would reach |", "|---|---|---|---|---|---|"]
    cpu = {name: found["cpu_ms_per_patch"] for name, found in record["pipelines"].items()}
    for own in ("reader", "floats", "host"):
        for name, goal in record["goals"][own].items():
            if name == "decode-bound":
                share = cpu[name] / cpu[own]
                rows.append(_goal(own, "decoding alone, share of its speed", 1 / goal, share, share >= 1 / goal))
            elif name in cpu:
                times, most = cpu[name] / cpu[own], f"{cpu[name] / cpu['decode-bound']:.3g}"
                rows.append(_goal(own, f"{name}, times its CPU", goal, times, times >= goal, most))
    return rows


def _goals(record: Mapping[str, Any]) -> str:
    rows, kb = _cpu_goals(record), record["kb_per_patch"]
    for name, goal in record["goals"]["bytes"].items():
        if name in kb:
            share = kb["this project"] / kb[name]
            rows.append(_goal("stored bytes", f"{name}, share of its bytes", goal, share, share <= goal))
    memory = record["pipelines"]["reader"]["rss_mb"]
    rows.append(
        _goal("reader", "resident MB, at most", record["goals"]["rss_mb"], memory, memory <= record["goals"]["rss_mb"])
    )
    return "\n".join([*rows, *_remote_goals(record["remote"], record["goals"]["remote"])]) + "\n"


def _remote_goals(remote: Mapping[str, Any], goals: Mapping[str, float]) -> list[str]:
    random, blocks = remote["random patches"], remote["blocks of 64"]
    own = random["this project"]
    asked, most = own["requests_per_patch"], goals["requests a random patch"]
    rows = [_goal("HTTP, random", "requests a patch, at most", most, asked, asked <= most)]
    for found, goal, what in (
        (random, goals["random, times zarr-python"], "HTTP, random"),
        (blocks, goals["blocks, times zarr-python"], "HTTP, blocks of 64"),
    ):
        for name in [name for name in found if name != "this project"]:
            times = found["this project"]["patches_per_s"] / found[name]["patches_per_s"]
            rows.append(_goal(what, f"{name}, times its patches/s", goal, times, times >= goal))
    return rows


def _goal(own: str, against: str, goal: float, found: float, is_met: bool, most: str = "") -> str:
    return f"| {own} | {against} | {goal:.3g} | {found:.3g} | {'met' if is_met else '**missed**'} | {most} |"


def _bytes(record: Mapping[str, Any]) -> str:
    rows = ["| format | KB a patch |", "|---|---|"]
    rows += [f"| {name} | {kb:.0f} |" for name, kb in sorted(record["kb_per_patch"].items(), key=lambda pair: pair[1])]
    return "\n".join(rows) + "\n"


def _remote(remote: Mapping[str, Any]) -> str:
    rows = [
        f"A local server that waits {remote['delay_s'] * 1e3:.0f} ms before each answer. This project has up to "
        f"{remote['connections']} requests in flight, zarr-python those of a whole batch; medians "
        f"of {remote['rounds']} rounds in turn, requests of the first round, which asks for what is kept later.\n",
        "| pattern | reader | patches/s | requests a patch |",
        "|---|---|---|---|",
    ]
    for pattern in ("random patches", "blocks of 64", "whole shards cached"):
        for name, found in remote[pattern].items():
            rows.append(f"| {pattern} | {name} | {found['patches_per_s']:.1f} | {found['requests_per_patch']:.3f} |")
    return "\n".join(rows) + "\n"
