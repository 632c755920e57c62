"""Loading the same patches as this project and as others store and load them, in turn, on one machine.

    python -m benchmarks.loader --pixels SITES --peers-python VENV/bin/python

Unit: CPU milliseconds a patch, user and system time of all processes of a pipeline, median over the rounds. Every
pipeline is a process that stays up; in each round each loads every patch twice, one pipeline after the other, so that
all meet the same machine. The first time warms what cooled while the others were at work (caches, and memory that the
system took back), the second is measured. Batches of 64 whole patches of 256 px, two threads or worker processes, page
cache warm.

SITES holds GeoTIFFs as `benchmarks.loader_peers.pixels` describes; without it, made-up pixels whose entropy is
higher than that of the Earth. VENV is made from benchmarks/loader_peers/requirements.txt and, with `--no-deps`, from
requirements-no-deps.txt beside it; peers that do not run are listed as such in the result.
"""

import dataclasses
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from catalog import fake, schema
from catalog.corpus import Corpus
from catalog.program import main
from catalog.publish import publish
from catalog.shard import write_shard

NAMES = ("s2_10m", "s2_20m", "s1")
OWN = ("decode-bound", "reader", "reader-one-thread", "host", "host-shards", "floats", "floats-jit")
READERS = ("tensorstore", "zarrs", "zarr-python", "icechunk-reader", "icechunk-shards-reader")
LOADERS = ("npz", "lmdb", "webdataset", "terramesh", "geotiff", "torchgeo")
GOALS = {
    "reader": {
        "decode-bound": 1 / 0.75,
        "tensorstore": 1.5,
        "zarr-python": 5,
        "icechunk-reader": 9,
        "icechunk-shards-reader": 9,
    },
    "floats": {"npz": 2.2, "lmdb": 3, "webdataset": 4, "terramesh": 5, "geotiff": 5.5, "torchgeo": 8},
    "host": {"npz": 6, "lmdb": 8, "webdataset": 10, "terramesh": 15, "geotiff": 18, "torchgeo": 25},
}
"""Least times that each needs as much as ours; for the decode bound, most times that ours needs as much as it."""
BYTES_GOALS = {"geotiff": 0.72, "npz": 0.20}
RSS_GOAL_MB = 400
REMOTE_GOALS = {"requests a random patch": 3.05, "random, times zarr-python": 1.8, "blocks, times zarr-python": 30}


@dataclasses.dataclass(frozen=True)
class Loader:
    """Load the same patches in every way there is, in turn, and record what each took."""

    pixels: Path | None = None
    """Folder with S2L2A/ and S1RTC/ of real sites; made-up pixels where None."""
    peers_python: Path | None = None
    """Python of the comparators' environment; only this project is measured where None."""
    scratch: Path = Path("runs/loader")
    """Where corpora and formats are written; what is there already is used."""
    patches: int = 512
    """In each store; a multiple of 256."""
    loaded: int = 512
    """Of them loaded in a round; a multiple of 256."""
    rounds: int = 5
    prepare_only: bool = False
    """Write corpora and formats, and measure nothing."""
    out: Path = Path("benchmarks/results/loader.json")
    """Record to write; the page docs/loader.md is made from it."""
    page: Path = Path("docs/loader.md")
    others: tuple[Path, ...] = (Path("benchmarks/results/loader-epyc.json"),)
    """Records of other machines, for the page."""


def run(options: Loader) -> None:
    """Prepare, measure, and write record and page."""
    public = prepare(options)
    troubles = write_formats(options, public)
    if options.prepare_only:
        sys.stdout.write("".join(f"not written: {name}: {why}\n" for name, why in troubles.items()))
        return
    commands = pipelines(options, public, troubles)
    measured = measure(commands, options, troubles)
    from benchmarks.loader_remote import measure as measure_remote

    remote = measure_remote(public, options.scratch, options.patches)
    record = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "command": "python -m benchmarks.loader " + " ".join(_public_arguments()),
        "pixels": "windows on mosaics of real sites" if options.pixels else "made up",
        "patches": options.patches,
        "loaded_a_round": options.loaded,
        "rounds": options.rounds,
        "load_average": round(os.getloadavg()[1], 1),
        "pipelines": measured,
        "not_run": troubles,
        "kb_per_patch": stored_kb(options, public),
        "remote": remote,
        "goals": GOALS | {"bytes": BYTES_GOALS, "rss_mb": RSS_GOAL_MB, "remote": REMOTE_GOALS},
        "versions": _versions(),
        "cpu": _cpu(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    from benchmarks.loader_page import page

    options.page.write_text(page(record, [json.loads(other.read_text()) for other in options.others]))


def prepare(options: Loader) -> Path:
    """The published corpus of the pixels, and the pixels as `.npy` for the comparators."""
    public = options.scratch / "public"
    if not (public / "catalog.json").is_file():
        build = options.scratch / "build"
        _build(build, options)
        publish([build], public)
    if not (options.scratch / "npy" / "s1.npy").is_file():
        (options.scratch / "npy").mkdir(parents=True, exist_ok=True)
        for name, values in Corpus.open(public / "unlabelled").read(range(options.patches), NAMES).items():
            np.save(options.scratch / "npy" / f"{name}.npy", values)
    return public


def _build(build: Path, options: Loader) -> None:
    from benchmarks.loader_peers.pixels import site_patches

    (build / "shards").mkdir(parents=True)
    (build / "corpus.json").write_text(json.dumps(schema.corpus_record("unlabelled", 256)))
    patches = fake.fake_patches(options.patches, side_px=256, labels=False)
    if options.pixels is not None:
        real = site_patches(options.pixels, options.patches, seed=0)
        patches = (
            dataclasses.replace(patch, s2_10m=pixels.s2_10m, s2_20m=pixels.s2_20m, s1=pixels.s1)
            for patch, pixels in zip(patches, real, strict=True)
        )
    for shard in range(options.patches // schema.SHARD_ROWS):
        write_shard(build, shard, [next(patches) for _ in range(schema.SHARD_ROWS)])


def write_formats(options: Loader, public: Path) -> dict[str, str]:
    """Write what the comparators read; those that cannot be written, and why."""
    if options.peers_python is None:
        return dict.fromkeys((*READERS, *LOADERS), "no environment given")
    troubles = {}
    for name in ("icechunk", "icechunk-shards", *LOADERS):
        place = options.scratch / "formats" / name
        if place.exists():
            continue
        command = [options.peers_python, "-m", "benchmarks.loader_peers", "write", name, options.scratch / "npy", place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            troubles[f"{name}-reader" if name.startswith("icechunk") else name] = _last_line(done.stderr)
    return troubles


def pipelines(options: Loader, public: Path, troubles: Mapping[str, str]) -> dict[str, list[Any]]:
    """The command of every pipeline, in the order of a round."""
    own = [sys.executable, "-m", "benchmarks.loader_own"]
    found: dict[str, list[Any]] = {name: [*own, name, public / "unlabelled", options.loaded] for name in OWN}
    serve = [options.peers_python, "-m", "benchmarks.loader_peers", "serve"]
    for name in [name for name in (*READERS, *LOADERS) if name not in troubles]:
        place = options.scratch / "formats" / name.removesuffix("-reader")
        if name in READERS and not name.startswith("icechunk"):
            place = public / "unlabelled" / "shards"
        found[name] = [*serve, name, place, options.loaded]
    return found


def measure(commands: Mapping[str, list[Any]], options: Loader, troubles: dict[str, str]) -> dict[str, Any]:
    """Numbers of each pipeline over the rounds; what fails is added to `troubles`."""
    running = {name: _Pipeline(command) for name, command in commands.items()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in running}
    for _ in range(options.rounds):
        for name, pipeline in list(running.items()):
            answer = pipeline.ask() and pipeline.ask()  # the first warms caches, or compiles
            if answer is None:
                troubles[name] = running.pop(name).end()
            else:
                found[name].append(answer)
    for pipeline in running.values():
        pipeline.end()
    return {name: _summary(rounds) for name, rounds in found.items() if rounds}


class _Pipeline:
    """A process that loads every patch once whenever it is asked."""

    def __init__(self, command: list[Any]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the object
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._is_ready = False

    def ask(self) -> dict[str, float] | None:
        """What an epoch took; None where the process has ended."""
        if not self._is_ready:
            self._is_ready = self._answer("ready") != ""
        if not self._is_ready or self._process.stdin is None:
            return None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        line = self._answer("{")
        return json.loads(line) if line else None

    def end(self) -> str:
        """Stop it; the last thing that it said."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._errors.seek(0)
        return _last_line(self._errors.read())

    def _answer(self, first: str) -> str:
        """The next line that begins so, past what libraries print; nothing where the process has ended."""
        lines = self._process.stdout or iter(())
        return next((line for line in lines if line.startswith(first)), "")


def _summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    cpu = [1e3 * one["cpu_s"] / one["patches"] for one in rounds]
    wall = [one["patches"] / one["wall_s"] for one in rounds]
    return {
        "cpu_ms_per_patch": round(statistics.median(cpu), 3),
        "cpu_ms_least_and_most": [round(min(cpu), 3), round(max(cpu), 3)],
        "patches_per_s": round(statistics.median(wall), 1),
        "rss_mb": round(max(one["rss_mb"] for one in rounds)),
    }


def stored_kb(options: Loader, public: Path) -> dict[str, float]:
    """Bytes on disk of the same sensors, in thousands a patch."""
    pixels = [public / "unlabelled" / "shards" / f"{i:06d}.zarr" / name for i in range(99) for name in NAMES]
    places = {"this project": pixels} | {
        place.name: [place] for place in sorted((options.scratch / "formats").glob("*"))
    }
    return {name: round(sum(map(_nbytes, paths)) / options.patches / 1e3, 1) for name, paths in places.items()}


def _nbytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it ended without a word"])[-1][:300]


def _public_arguments() -> list[str]:
    """The command's arguments without the folders of this machine."""
    return [Path(word).name if "/" in word else word for word in sys.argv[1:]]


def _versions() -> dict[str, str]:
    names = ("numpy", "numcodecs", "crc32c", "obstore", "zarr", "jax", "grain")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main(Loader, run)
