"""A labelled corpus of 2,000 and more small patches from the sandbox, published, and every document of it validated.

    python -m benchmarks.sandbox_catalog SCHEMAS

SCHEMAS is a folder of the JSON schemas of all STAC extensions; nothing is asked of the network. Patches have 10 px, so
that the simulated land of four default patches gives enough of them.
"""

import dataclasses
import datetime as dt
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import tyro

from catalog.program import main

_CORE = {
    "Feature": "item-spec/json-schema/item", "Collection": "collection-spec/json-schema/collection",
    "Catalog": "catalog-spec/json-schema/catalog",
}  # fmt: skip
_NO_STAC = ("statistics.json", "split-statistics.json", "shard.json")


@dataclasses.dataclass(frozen=True)
class SandboxCatalog:
    """Build, publish and validate a corpus of the sandbox, and record what it took."""

    schemas: Annotated[Path, tyro.conf.Positional]
    """Folder of extension schemas, each with its address as $id."""
    out: Path = Path("benchmarks/results/sandbox-catalog.json")
    """Record to write."""
    keep: Path | None = None
    """Leave the archive, the build and the catalog here, for a look; a build that is there is taken as it is."""
    side_px: int = 10
    """Side of a patch: 10 gives 2,500."""


def make_build(folder: Path, side_px: int, seconds: dict[str, float]) -> None:
    """Simulate, sample and build."""
    from ingest.build import Build
    from ingest.build import run as build
    from ingest.fill import Limits
    from ingest.sample import Sample
    from ingest.sample import run as sample
    from ingest.sandbox.server import Sandbox
    from ingest.sandbox.simulate import simulate

    archive, plan = folder / "archive", folder / "plan.parquet"
    started = time.perf_counter()
    simulate("tiny", archive, seed=0)
    seconds["simulate"] = time.perf_counter() - started
    region = str(archive / "regions" / "tiny.geojson")
    sample(Sample(plan, region=region, every_cell=True, start="2018-06-01", end="2018-06-10", side_px=side_px))
    seconds["sample"] = time.perf_counter() - started - sum(seconds.values())
    everything = Limits(s1_valid_min=0.0, s2_valid_min=0.0, patch_cloud_max=1.0, physics="warn")
    (corine,), (osm,) = archive.rglob("*corine*.tif"), archive.rglob("*.osm.pbf")
    with Sandbox(archive) as sandbox, sandbox.applied():
        build(Build(plan, folder / "build", scene_cloud_max=100.0, limits=everything, corine=str(corine), osm=osm))
    seconds["build"] = time.perf_counter() - started - sum(seconds.values())


def publish_build(folder: Path, seconds: dict[str, float]) -> Path:
    """Publish the build; the folder of the catalog."""
    from catalog.publish import publish
    from catalog.splits import SplitRules

    started = time.perf_counter()
    rules = SplitRules(block_deg=0.01, buffer_m=100)  # the land of four default patches is one block of the usual size
    publish([folder / "build"], folder / "catalog", split_rules=rules)
    seconds["publish"] = time.perf_counter() - started
    return folder / "catalog"


def validate_all(catalog: Path, schemas: Path) -> tuple[Counter[str], list[str]]:
    """Every STAC document against the core and every extension that it names: counts by kind, and what is wrong."""
    validators = _Validators(schemas)
    counts: Counter[str] = Counter()
    wrong = []
    for path in sorted(catalog.rglob("*.json")):
        if ".zarr" in path.as_posix() or path.name in _NO_STAC:
            continue
        document: dict[str, Any] = json.loads(path.read_text())
        core = f"https://schemas.stacspec.org/v{document['stac_version']}/{_CORE[document['type']]}.json"
        for uri in (core, *document.get("stac_extensions", ())):
            wrong += [f"{path}: {uri}: {error.message[:200]}" for error in validators.of(uri).iter_errors(document)]
        counts[document["type"]] += 1
    return counts, wrong


class _Validators:
    """One validator a schema, built once: building one takes longer than using it."""

    def __init__(self, schemas: Path) -> None:
        from pystac.validation.stac_validator import JsonSchemaSTACValidator
        from referencing import Registry, Resource
        from referencing.jsonschema import DRAFT7

        self._schemas: dict[str, Any] = dict(JsonSchemaSTACValidator().schema_cache)
        for path in sorted(schemas.glob("*.json")):
            schema = json.loads(path.read_text())
            if "$id" in schema:
                self._schemas.setdefault(schema["$id"].rstrip("#"), schema)
        for version in ("0.4", "0.7"):
            local = schemas / f"proj.org__en__latest__schemas__v{version}__projjson.schema.json"
            self._schemas[f"https://proj.org/schemas/v{version}/projjson.schema.json"] = json.loads(local.read_text())
        resources = [(uri, Resource.from_contents(one, DRAFT7)) for uri, one in self._schemas.items()]
        self._registry = Registry().with_resources(resources)
        self._built: dict[str, Any] = {}

    def of(self, uri: str) -> Any:
        from jsonschema import Draft7Validator

        if uri not in self._built:
            self._built[uri] = Draft7Validator(self._schemas[uri], registry=self._registry)
        return self._built[uri]


def run(options: SandboxCatalog) -> None:
    """Run, and write the record."""
    from catalog.validate import validate

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = options.keep or Path(place)
        if not (folder / "build" / "corpus.json").is_file():
            make_build(folder, options.side_px, seconds)
        catalog = publish_build(folder, seconds)
        started = time.perf_counter()
        counts, wrong = validate_all(catalog, options.schemas)
        seconds["every schema"] = time.perf_counter() - started
        report = validate(catalog)
        seconds["catalog.validate"] = time.perf_counter() - started - seconds["every schema"]
        extensions = {
            uri
            for path in catalog.glob("*/*/*.json")
            for uri in json.loads(path.read_text()).get("stac_extensions", ())
        }
    findings = Counter(finding.rule for finding in report.findings)
    record = {
        "date": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
        "command": "python -m benchmarks.sandbox_catalog SCHEMAS",
        "side_px": options.side_px,
        "documents": dict(counts),
        "invalid": len(wrong),
        "first_invalid": wrong[:3],
        "extensions_of_items": sorted("/".join(uri.split("/")[-3:-1]) for uri in extensions),
        "findings_of_catalog_validate": dict(findings),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "machine": {"python": platform.python_version(), "platform": platform.platform()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main(SandboxCatalog, run)
