"""Publish a trained model, and embeddings that it made, in the catalog of its corpus.

python -m catalog.publish_model RUN DEST
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from catalog.program import main

_ID = re.compile(r"[a-z0-9][a-z0-9_-]*")
_Build = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], dict[str, Any]]


@dataclass(frozen=True)
class PublishModel:
    """Publish the newest checkpoint of a training run as a model of the catalog that holds its corpus.

    For example:
        publish-model runs/pretrain catalog --name simclr-resnet18
        publish-model runs/pretrain catalog --name simclr-resnet18 --embeddings runs/embeddings.parquet
    """

    run: tyro.conf.Positional[Path]
    """Folder of a pre-training run."""
    dest: tyro.conf.Positional[Path]
    """Folder of the catalog."""
    name: str | None = None
    """Id of the model: lower-case letters, digits, - and _. By default method, encoder and step."""
    version: str = "0.1.0"
    """Version of the model."""
    embeddings: Path | None = None
    """GeoParquet table of embeddings that this model made, to publish too."""


def publish_model(run_folder: Path, dest: Path, name: str | None = None, version: str = "0.1.0") -> str:
    """Publish a run as a model; publishing it again under its id replaces it. Gives the id.

    Raises:
        CorpusError: no run, no checkpoint, a bad id, or its corpus is not published under `dest`.
    """
    from catalog import models

    run = models.Run.read(run_folder)
    model_id = _checked(name or f"{run.method}-{run.encoder}-{run.step}".lower())
    source, files = models.find_source(dest, run.corpus["fingerprint"]), models.read_files(run)
    item = models.build_model(run, model_id, version, source, files)
    _publish(dest, models.FOLDER, item, files, models.build_models)
    return model_id


def publish_embeddings(table: Path, dest: Path, model_id: str, name: str | None = None) -> str:
    """Publish a table of embeddings that a published model made. Gives the item's id.

    Raises:
        CorpusError: the model is not published under `dest`, a bad id, or the table is not one of embeddings.
    """
    from catalog import embeddings, models
    from catalog.assets import describe_file
    from catalog.documents import read_document

    path = dest / models.FOLDER / model_id / f"{model_id}.json"
    model = read_document(path, "publish the model first", ("id", "properties"))
    item_id, content = _checked(name or f"{model_id}-{table.stem}".lower()), table.read_bytes()
    item = embeddings.build_embeddings_item(table, item_id, model, describe_file(content))
    _publish(dest, embeddings.FOLDER, item, {embeddings.NAME: content}, embeddings.build_embeddings)
    return item_id


def _publish(dest: Path, folder: str, item: dict[str, Any], files: Mapping[str, bytes], build: _Build) -> None:
    """Write an item's files, the item, its collection and the root, each after what it leads to."""
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    from catalog.collections import link
    from catalog.documents import read_document, replace_file
    from catalog.items import rebase
    from catalog.publish import publish_root

    place = dest / folder / item["id"]
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        replace_file(place / name, content)
    replace_file(place / f"{item['id']}.json", json.dumps(item, indent=1) + "\n")
    paths = sorted(path for path in (dest / folder).glob("*/*.json") if path.stem == path.parent.name)
    items = [read_document(path, "publish it again", ("id", "properties", "bbox")) for path in paths]
    links = [
        link("item", f"./{one['id']}/{one['id']}.json", one["properties"]["title"], "application/geo+json")
        for one in items
    ]
    collection = build(items, links)
    rows = parse_stac_items_to_arrow([rebase(one, one["id"]) for one in items])
    aside = dest / folder / f".items.parquet.{os.getpid()}"
    to_parquet(rows, aside, collections={collection["id"]: collection}, compression="zstd")
    aside.replace(dest / folder / "items.parquet")
    replace_file(dest / folder / "collection.json", json.dumps(collection, indent=2) + "\n")
    publish_root(dest)


def _checked(name: str) -> str:
    from catalog.errors import CorpusError

    if not _ID.fullmatch(name):
        raise CorpusError(f"{name!r} is no id of a model; take lower-case letters, digits, - and _")
    return name


def run(options: PublishModel) -> None:
    """Publish the model, and the embeddings if there are any."""
    from rich.console import Console

    model_id = publish_model(options.run, options.dest, options.name, options.version)
    Console(stderr=True).print(f"published model {model_id}", highlight=False)
    if options.embeddings is not None:
        item_id = publish_embeddings(options.embeddings, options.dest, model_id)
        Console(stderr=True).print(f"published embeddings {item_id}", highlight=False)


if __name__ == "__main__":
    main(PublishModel, run)
