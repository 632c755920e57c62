"""Checks of one document, one index or one shard of a published catalog; each yields what it finds wrong."""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalog import schema
from catalog.assets import STAC_VERSION, describe_file
from catalog.documents import read_document
from catalog.errors import CorpusError, DeepSentinelError, SchemaError
from catalog.items import shard_folder
from catalog.physics import Finding
from catalog.reader import ShardReader
from catalog.shard import list_shards, open_array, shard_path
from catalog.stats import BandStatistics, merge_all

_SCHEMAS = {"Feature": "item", "Catalog": "catalog", "Collection": "collection"}


def check_stac(path: Path) -> Iterator[Finding]:
    """A document against the core STAC schema, which comes with pystac."""
    try:
        document = json.loads(path.read_text())
        validator = _core_validator(document["type"])
    except (OSError, ValueError, KeyError, TypeError) as reason:
        yield Finding("stac", str(path), f"is not a readable STAC document ({type(reason).__name__}: {reason})")
        return
    if document.get("stac_version") != STAC_VERSION:
        yield Finding("stac", str(path), f"has STAC version {document.get('stac_version')}, expected {STAC_VERSION}")
    for error in validator.iter_errors(document):
        where = "/".join(map(str, error.absolute_path)) or "the document"
        yield Finding("stac", str(path), f"{where}: {error.message[:200]}")


def check_index(folder: Path, table: pa.Table, linked: Sequence[int]) -> Iterator[Finding]:
    """Unique ids; the same shards in the index, in the collection's links and on disk."""
    for name, count in Counter(table["id"].to_pylist()).items():
        if count > 1:
            yield Finding("unique-id", name, f"stands {count} times in {folder / 'items.parquet'}")
    found = {
        "the index": set(table["deepsentinel:shard"].to_pylist()),
        "the collection's links": set(linked),
        "the folder shards": set(list_shards(folder)),
    }
    for shard in sorted(set.union(*found.values())):
        if missing := [place for place, shards in found.items() if shard not in shards]:
            yield Finding("shard-listed", str(shard_path(folder, shard)), f"missing in {' and '.join(missing)}")


def check_structure(path: Path, rows: int, collection: Mapping[str, Any]) -> Iterator[Finding]:
    """Arrays, shapes, types, dimension names, coordinates and consolidated metadata of a shard."""
    for name in collection["deepsentinel:arrays"]:
        spec = schema.BY_NAME[name]
        expected = ((rows, *spec.shape(collection["deepsentinel:side_px"])), spec.dtype, ("patch", *spec.dims))
        try:
            array = open_array(path, name)
        except SchemaError as error:
            yield Finding("array", str(path), str(error))
            continue
        found = (array.shape, str(array.dtype), _dimension_names(array))
        if found != expected:
            yield Finding("array", f"{path}/{name}", f"is {found}, expected {expected}")
    for name, labels in schema.COORDINATES.items():
        values = tuple(map(str, np.asarray(open_array(path, name)[:])))
        if values != labels:
            yield Finding("coordinate", f"{path}/{name}", f"holds {values}, expected {labels}")
    if "consolidated_metadata" not in json.loads((path / "zarr.json").read_text()):
        yield Finding("consolidated", str(path), "items promise consolidated metadata, zarr.json holds none")


def check_rows(path: Path, provenance: Sequence[str], ids: Sequence[str]) -> Iterator[Finding]:
    """The index's order is the order of the pixels."""
    stored = {
        "the coordinate patch": [str(name) for name in np.asarray(open_array(path, "patch")[:])],
        "the array provenance": provenance,
    }
    for where, names in stored.items():
        if list(names) != list(ids):
            row = next((i for i, pair in enumerate(zip(names, ids, strict=False)) if pair[0] != pair[1]), len(ids))
            evidence = f"{where} has {len(names)} rows, the index {len(ids)}; they differ from row {row} on"
            yield Finding("row-order", str(path), evidence)


def check_items(folder: Path, shard: int, ids: Sequence[str]) -> Iterator[Finding]:
    """The items of a shard: exactly those of the index, each valid and pointing at its own row."""
    place = folder / shard_folder(shard)
    yield from check_stac(place / "catalog.json")
    listed, expected = [link["href"] for link in links_of(place, "item")], [f"./{name}.json" for name in ids]
    if listed != expected:
        odd = sorted(set(listed) ^ set(expected)) or ["their order"]
        yield Finding("item-listed", str(place / "catalog.json"), f"links and index differ in {', '.join(odd[:3])}")
    for row, name in enumerate(ids):
        yield from check_stac(place / f"{name}.json")
        yield from _check_item(place / f"{name}.json", shard, row)
    extra = {path.stem for path in place.glob("*.json")} - {*ids, "catalog", "shard"}
    yield from (Finding("item-listed", str(place / f"{name}.json"), "is not in the index") for name in sorted(extra))


def item_hrefs(path: Path) -> list[str]:
    """Items that a catalog or collection links; none where it cannot be read."""
    try:
        links = json.loads(path.read_text())["links"]
    except (OSError, ValueError, KeyError):
        return []
    return [link["href"] for link in links if link["rel"] == "item"]


def check_files(path: Path) -> Iterator[Finding]:
    """Files beside an item: all there, with the bytes that it states."""
    try:
        item = read_document(path, "publish again", ("assets",))
    except CorpusError:
        return  # check_stac has said so
    for name, asset in item["assets"].items():
        file = path.parent / asset["href"]
        if not file.is_file():
            yield Finding("asset", str(path), f"{name} leads to {asset['href']}, which does not exist")
        elif (
            "file:checksum" in asset
            and (found := describe_file(file.read_bytes())["file:checksum"]) != asset["file:checksum"]
        ):
            yield Finding("checksum", str(file), f"is {found}, the item says {asset['file:checksum']}")


def _check_item(path: Path, shard: int, row: int) -> Iterator[Finding]:
    try:
        item = read_document(path, "publish again", ("properties", "assets"))
    except CorpusError:
        return  # check_stac has said so
    found = (item["properties"].get("deepsentinel:shard"), item["properties"].get("deepsentinel:index"))
    if found != (shard, row):
        yield Finding("item-place", str(path), f"says shard and row {found}, the index says {(shard, row)}")
    for name, asset in item["assets"].items():
        if not (path.parent / asset["href"]).exists():
            yield Finding("asset", str(path), f"{name} leads to {asset['href']}, which does not exist")


def check_sums(
    folder: Path,
    collection: Mapping[str, Any],
    digests: Sequence[str],
    parts: Sequence[BandStatistics],
    *,
    intact: bool,
) -> Iterator[Finding]:
    """Fingerprint and statistics of the whole collection; statistics only where every shard could be read."""
    fingerprint = hashlib.sha256("".join(digests).encode()).hexdigest()
    if fingerprint != collection["deepsentinel:fingerprint"]:
        evidence = f"says {collection['deepsentinel:fingerprint'][:12]}..., the shards give {fingerprint[:12]}..."
        yield Finding("fingerprint", str(folder / "collection.json"), evidence)
    path = folder / "statistics.json"
    if not path.is_file():
        yield Finding("statistics", str(path), "is missing")
    elif intact and merge_all(parts).to_json() != path.read_text():
        yield Finding("statistics", str(path), "differs from the statistics of the pixels")


def damaged_rows(path: Path, ids: Sequence[str], collection: Mapping[str, Any]) -> Iterator[Finding]:
    """Which patches of a damaged shard cannot be read."""
    reader = ShardReader(path)
    for name in collection["deepsentinel:arrays"]:
        spec = schema.BY_NAME[name]
        out = np.empty(spec.shape(collection["deepsentinel:side_px"]), spec.dtype)
        for row, patch_id in enumerate(ids):
            try:
                reader.read_into(name, row, out)
            except DeepSentinelError as error:
                yield Finding("readable", patch_id, str(error))


def links_of(place: Path, rel: str) -> list[dict[str, Any]]:
    """Links of one kind of a shard's catalog; none where it cannot be read."""
    try:
        links = json.loads((place / "catalog.json").read_text())["links"]
    except (OSError, ValueError, KeyError):
        return []
    return [link for link in links if link["rel"] == rel]


def _dimension_names(array: Any) -> tuple[str, ...]:
    return tuple(array.metadata.dimension_names or ())


@functools.cache
def _core_validator(kind: str) -> Any:
    """A validator of one kind of document, built once: building it takes longer than using it."""
    from jsonschema import Draft7Validator  # type: ignore[import-untyped]
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    offline = JsonSchemaSTACValidator()
    name = _SCHEMAS[kind]
    uri = f"https://schemas.stacspec.org/v{STAC_VERSION}/{name}-spec/json-schema/{name}.json"
    return Draft7Validator(offline.schema_cache[uri], registry=offline.registry)
