"""Trained encoders as STAC: one item a model (Machine Learning Model extension), linked to the corpus version it saw.

A run is read by its files alone (config.json, corpus.json, scores.json, checkpoints/): nothing here needs JAX.
"""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import bands, changes
from catalog.assets import EXTENSIONS, STAC_VERSION, describe_file
from catalog.collections import link
from catalog.documents import read_document
from catalog.errors import CorpusError

FOLDER = "models"
COLLECTION_ID = "deepsentinel-models"
TITLE = "DeepSentinel models"
WEIGHTS = "checkpoint.tar"
_TASKS = ["similarity-search"]  # of the extension's tasks, what embeddings are for
_INPUTS = {"s2_10m": (bands.S2_10M, 1), "s2_20m": (bands.S2_20M, 2), "s1": (bands.S1, 1)}
_DIMENSIONS = {"s2_10m": "band_10m", "s2_20m": "band_20m", "s1": "pol"}


@dataclass(frozen=True, slots=True)
class Run:
    """What the folder of a training run says about its model."""

    folder: Path
    config: Mapping[str, Any]
    corpus: Mapping[str, Any]
    """href, version, fingerprint, patches, normalisation."""
    step: int
    checkpoint: Path

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read a run.

        Raises:
            CorpusError: there is no run, or it has no finished checkpoint.
        """
        cure = "give the folder of a pre-training run"
        config = read_document(folder / "config.json", cure, ("encoder", "method"))
        corpus = read_document(folder / "corpus.json", cure, ("fingerprint", "version", "patches", "normalisation"))
        steps = [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit() and path.is_dir()]
        if not steps:
            raise CorpusError(f"{folder} holds no finished checkpoint; train until there is one")
        newest = max(steps, key=lambda path: int(path.name))
        return cls(folder, config, corpus, int(newest.name), newest)

    @property
    def encoder(self) -> str:
        """Name of the encoder, such as "resnet18"."""
        return str(self.config["encoder"]["name"])

    @property
    def method(self) -> str:
        """Name of the pre-training method."""
        return str(self.config["method"].get("name", "simclr"))

    @property
    def side_px(self) -> int:
        """Side of what the encoder was trained on, 10 m pixels."""
        return int(self.config.get("crop_px", 256))


@dataclass(frozen=True, slots=True)
class Source:
    """The published collection that a model was trained on."""

    folder: str
    """Of the collection, beside the models'."""
    collection: Mapping[str, Any]
    version: str
    """The version that was trained on, which may have grown since."""


def find_source(dest: Path, fingerprint: str) -> Source:
    """The collection under `dest` that has, or had, this fingerprint.

    Raises:
        CorpusError: none has.
    """
    for path in sorted(dest.glob("*/collection.json")):
        collection = read_document(path, "publish it again", ("links", "extent"))
        for change in collection.get(changes.MEMBER, ()):
            if change["fingerprint"] == fingerprint:
                return Source(path.parent.name, collection, change["version"])
    raise CorpusError(
        f"no collection under {dest} has the fingerprint {fingerprint[:12]}... that the model was trained on; "
        "publish its corpus there first"
    )


def build_model(run: Run, model_id: str, version: str, source: Source, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The item of a model, with links relative to `models/ID/`.

    Args:
        files: content of the files beside the item, by name; `WEIGHTS` is one of them.
    """
    west, south, east, north = source.collection["extent"]["spatial"]["bbox"][0]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    start, end = source.collection["extent"]["temporal"]["interval"][0]
    trained_on = f"{source.collection['id']} {source.version}"
    named = [{"name": name} for group in _INPUTS for name in _band_names(group)]
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [EXTENSIONS[name] for name in ("mlm", "file", "version")],
        "id": model_id,
        "collection": COLLECTION_ID,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "title": f"{run.encoder}, {run.method}, {run.step:,} steps on {trained_on}",
            "description": f"Encoder of Sentinel-1 and Sentinel-2 patches, pre-trained by {run.method} on "
            f"{run.corpus['patches']:,} patches of {trained_on}. Extent and times are those of the corpus.",
            "datetime": None,
            "start_datetime": start,
            "end_datetime": end,
            "version": version,
            "license": "Apache-2.0",
            "bands": named,
            **_mlm(run, model_id, trained_on),
            "deepsentinel:step": run.step,
            "deepsentinel:corpus_version": source.version,
            "deepsentinel:corpus_fingerprint": run.corpus["fingerprint"],
        },
        "links": [
            link("root", "../../catalog.json", "DeepSentinel"),
            link("parent", "../collection.json", TITLE),
            link("collection", "../collection.json", TITLE),
            link("derived_from", f"../../{source.folder}/collection.json", f"Trained on {trained_on}"),
        ],
        "assets": _assets(files, named),
    }


def build_models(items: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The collection of models.

    Args:
        items: at least one.
        links: to the items, in their order.
    """
    boxes = list(zip(*(item["bbox"] for item in items), strict=True))
    bbox = [min(boxes[0]), min(boxes[1]), max(boxes[2]), max(boxes[3])]
    start = min(item["properties"]["start_datetime"] for item in items)
    end = max(item["properties"]["end_datetime"] for item in items)
    names = ("mlm:architecture", "mlm:tasks", "mlm:framework")
    stated = {name: [item["properties"][name] for item in items] for name in names}
    stated["mlm:tasks"] = [task for tasks in stated["mlm:tasks"] for task in tasks]
    return {
        "type": "Collection",
        "id": COLLECTION_ID,
        "stac_version": STAC_VERSION,
        "stac_extensions": [],  # mlm 1.4.0 refuses every summary that is no JSON object, also its own fields
        "title": TITLE,
        "description": "Encoders of co-located Sentinel-1 and Sentinel-2 patches. Each is linked (`derived_from`) to "
        "the corpus that it was trained on; its item states the corpus' version and fingerprint, and its assets hold "
        "weights, settings and scores.",
        "license": "Apache-2.0",
        "keywords": ["sentinel-1", "sentinel-2", "self-supervised learning", "embeddings", "JAX"],
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[start, end]]}},
        "summaries": {name: sorted(set(values)) for name, values in stated.items()},
        "links": [
            link("root", "../catalog.json", "DeepSentinel"),
            link("parent", "../catalog.json", "DeepSentinel"),
            *links,
        ],
    }


def pack_checkpoint(checkpoint: Path) -> bytes:
    """A checkpoint's folder as one tar file to download; equal folders give equal bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{checkpoint.name}/{path.relative_to(checkpoint).as_posix()}")
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)
    return stream.getvalue()


def _mlm(run: Run, model_id: str, trained_on: str) -> dict[str, Any]:
    return {
        "mlm:name": model_id,
        "mlm:architecture": run.encoder,
        "mlm:tasks": _TASKS,
        "mlm:framework": "JAX",
        "mlm:pretrained": True,
        "mlm:pretrained_source": trained_on,
        "mlm:input": [_input(run, name) for name in _INPUTS],
        "mlm:output": [
            {
                "name": "embedding",
                "tasks": _TASKS,
                "result": {"shape": [-1, -1], "dim_order": ["batch", "embedding"], "data_type": "float32"},
            }
        ],
        "mlm:hyperparameters": {
            name: run.config[name] for name in ("method", "optimiser", "encoder", "steps", "batch_size", "seed")
            if name in run.config
        },
    }  # fmt: skip


def _input(run: Run, name: str) -> dict[str, Any]:
    """One sensor group; units are those of the corpus, scaled by its mean and standard deviation."""
    group, coarser = _INPUTS[name]
    mean, std = (run.corpus["normalisation"][key] for key in ("mean", "std"))
    side = run.side_px // coarser
    return {
        "name": name,
        "bands": _band_names(name),
        "input": {
            "shape": [-1, side, side, len(group)],
            "dim_order": ["batch", "height", "width", "channel"],
            "data_type": "float32",
        },
        "value_scaling": [{"type": "z-score", "mean": mean[band.name], "stddev": std[band.name]} for band in group],
        "description": "reflectance" if name != "s1" else "gamma0 in dB",
    }


def _band_names(group: str) -> list[str]:
    """Names as the corpus' assets have them, such as "s1[pol=VV]"."""
    return [f"{group}[{_DIMENSIONS[group]}={band.name}]" for band in _INPUTS[group][0]]


def _assets(files: Mapping[str, bytes], named: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kinds = {
        WEIGHTS: ("weights", "Newest checkpoint, an Orbax folder", "application/x-tar", ["mlm:model", "mlm:weights"]),
        "config.json": ("config", "Settings of the run", "application/json", ["metadata"]),
        "corpus.json": ("corpus", "Corpus and normalisation of its bands", "application/json", ["metadata"]),
        "scores.json": ("scores", "Scores of frozen embeddings", "application/json", ["metadata"]),
        "metrics.jsonl": ("metrics", "Loss and more, a line every few steps", "application/jsonl", ["metadata"]),
        "MODEL_CARD.md": ("card", "Model card", "text/markdown", ["metadata"]),
    }
    found: dict[str, Any] = {}
    for name, content in files.items():
        key, title, type_, roles = kinds[name]
        found[key] = {"href": f"./{name}", "title": title, "type": type_, "roles": roles, **describe_file(content)}
    found["weights"] |= {"mlm:artifact_type": "orbax.checkpoint", "bands": list(named)}
    return found


def read_files(run: Run) -> dict[str, bytes]:
    """The files that a model is published with, by name; those that a run lacks are left out."""
    found = {WEIGHTS: pack_checkpoint(run.checkpoint)}
    for name in ("config.json", "corpus.json", "scores.json", "metrics.jsonl", "MODEL_CARD.md"):
        path = run.folder / name
        if path.is_file():
            found[name] = path.read_bytes()
    if "config.json" in found:  # where the run lay is nobody's business
        config = {key: value for key, value in run.config.items() if key not in ("out", "compilation_cache")}
        found["config.json"] = (json.dumps(config, indent=1) + "\n").encode()
    return found
