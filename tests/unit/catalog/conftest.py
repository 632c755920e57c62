"""Offline STAC validation: pystac with the extension schemas of the shared data, and no network."""

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pystac
import pytest
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from catalog.assets import EXTENSIONS

_KINDS = {
    "Feature": pystac.STACObjectType.ITEM,
    "Collection": pystac.STACObjectType.COLLECTION,
    "Catalog": pystac.STACObjectType.CATALOG,
}


@pytest.fixture(scope="session")
def stac_validator(shared_data: Path) -> JsonSchemaSTACValidator:
    """A validator that holds the schema of every extension that the catalog uses, each under its own address."""
    folder, validator = shared_data / "stac-schemas", JsonSchemaSTACValidator()
    for name, uri in EXTENSIONS.items():
        version = uri.split("/")[-2]
        released = f"stac-extensions.github.io__{name}__{version}__schema.json"
        candidates = (folder / released, folder / f"tag_{name}_{version}.json", folder / f"HEAD_{name}.json")
        schema = json.loads(next(path for path in candidates if path.is_file()).read_text())
        assert schema["$id"].rstrip("#") == uri
        validator.schema_cache[uri] = schema
    for path in folder.glob("stac-extensions.github.io__*.json"):  # the schema of models refers to older ones
        schema = json.loads(path.read_text())
        validator.schema_cache.setdefault(schema["$id"].rstrip("#"), schema)
    for version in ("0.4", "0.7"):
        uri = f"https://proj.org/schemas/v{version}/projjson.schema.json"
        local = folder / f"proj.org__en__latest__schemas__v{version}__projjson.schema.json"
        validator.schema_cache[uri] = json.loads(local.read_text())
    return validator


@pytest.fixture
def validate_offline(
    stac_validator: JsonSchemaSTACValidator, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Mapping[str, Any]], None]:
    """Validate a STAC object against the core schema and every extension that it names; fails on any connection."""

    def refuse(*address: object) -> None:
        raise AssertionError(f"validation asked the network for {address[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    def validate(stac: Mapping[str, Any]) -> None:
        extensions = list(stac.get("stac_extensions", ()))
        stac_validator.validate(dict(stac), _KINDS[stac["type"]], stac["stac_version"], extensions)

    return validate
