"""The STAC root catalog and collections: what a corpus is, as machines and people read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import assets, changes, class_table, schema
from catalog.assets import EXTENSIONS, PARQUET_TYPE, STAC_VERSION
from catalog.documents import read_document
from catalog.errors import CorpusError
from catalog.objects import NAME as OBJECTS
from catalog.stats import BandStatistics
from catalog.summary import Summary

CITATION = (
    "Kruitwagen, L. (2021). Towards DeepSentinel: An extensible corpus of labelled Sentinel-1 and -2 imagery and a "
    "general-purpose sensor-fusion semantic embedding model. arXiv:2102.06260; first presented at the NeurIPS 2020 "
    "workshop Tackling Climate Change with Machine Learning."
)

DOI = "10.48550/arXiv.2102.06260"

_TITLES = {"unlabelled": "DeepSentinel unlabelled patches", "labelled": "DeepSentinel labelled patches"}
_PROVIDERS = [
    {"name": "European Union, Copernicus", "roles": ["licensor", "producer"], "url": "https://www.copernicus.eu"},
    {
        "name": "Microsoft Planetary Computer",
        "roles": ["processor"],
        "url": "https://planetarycomputer.microsoft.com",
        "description": "Radiometric terrain correction of Sentinel-1 and cloud-optimised copies of both missions",
    },
    {"name": "DeepSentinel", "roles": ["processor"], "description": "Pairing, co-location, labels and cataloguing"},
]
_SENTINEL_LICENCE = {
    "rel": "license",
    "href": "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
    "title": "Legal notice on the use of Copernicus Sentinel data",
}


@dataclass(frozen=True, slots=True)
class _Label:
    """What a collection says about one label array."""

    keyword: str
    attribution: str
    licence: str
    terms: str


_LABELS = {
    "osm": _Label(
        "OpenStreetMap",
        "OpenStreetMap (© OpenStreetMap contributors, ODbL)",
        "https://opendatacommons.org/licenses/odbl/1-0/",
        "Array osm and objects.parquet: Open Database License, © OpenStreetMap contributors",
    ),
    "corine": _Label(
        "CORINE",
        "CORINE Land Cover 2018 (European Union, Copernicus Land Monitoring Service, European Environment Agency)",
        "https://land.copernicus.eu/en/data-policy",
        "Array corine: Copernicus Land Monitoring Service data policy, European Environment Agency",
    ),
    "worldcover": _Label(
        "WorldCover",
        "ESA WorldCover (© ESA WorldCover project, CC-BY-4.0)",
        "https://spdx.org/licenses/CC-BY-4.0.html",
        "Array worldcover: CC-BY-4.0, © ESA WorldCover project, contains modified Copernicus Sentinel data",
    ),
}

MEMBERS = (
    *(f"deepsentinel:{name}" for name in ("schema_version", "side_px", "arrays", "fingerprint")), "id", "version",
    "links",
)  # fmt: skip
"""What readers need of a collection.json."""


@dataclass(frozen=True, slots=True)
class CorpusRecord:
    """What `corpus.json` of a build says about the corpus as a whole."""

    name: str
    """ "unlabelled" or "labelled": the folder of the collection."""
    title: str
    side_px: int
    version: str
    schema_version: str

    @property
    def collection_id(self) -> str:
        """Id of the STAC collection."""
        return f"deepsentinel-{self.name}"

    @classmethod
    def read(cls, root: Path) -> "CorpusRecord":
        """Read the record of a build.

        Raises:
            CorpusError: there is none, or it was written by an incompatible version.
        """
        path = root / "corpus.json"
        if not path.is_file():
            raise CorpusError(f"{root} holds no corpus.json; give a folder that `ingest.build` has written")
        cure = "build again, or restore the file"
        raw = read_document(path, cure, ("collection", "side_px", "version", "schema_version"))
        if raw["schema_version"] != schema.SCHEMA_VERSION:
            raise CorpusError(
                f"{path} has schema version {raw['schema_version']}, this software reads {schema.SCHEMA_VERSION}; "
                "install the version that wrote it, or build again"
            )
        name = raw["collection"]
        title = raw.get("title") or _TITLES.get(name, f"DeepSentinel {name} patches")
        return cls(name, title, raw["side_px"], raw["version"], raw["schema_version"])


def build_root(children: Mapping[str, str]) -> dict[str, Any]:
    """The root catalog.

    Args:
        children: title of each collection by its folder.
    """
    description = (
        "Co-located **Sentinel-1 and Sentinel-2 patches**, and labels where there are any, for self-supervised and "
        "sensor-fusion learning. Every patch is one STAC item with its provenance and quality as properties."
    )
    return {
        "type": "Catalog",
        "id": "deepsentinel",
        "stac_version": STAC_VERSION,
        "title": "DeepSentinel",
        "description": description,
        "links": [
            link("root", "./catalog.json", "DeepSentinel"),
            *(link("child", f"./{folder}/collection.json", title) for folder, title in sorted(children.items())),
        ],
    }


def build_collection(
    record: CorpusRecord,
    arrays: Sequence[str],
    shards: Sequence[int],
    summary: Summary,
    statistics: BandStatistics,
    fingerprint: str,
    *,
    splits: Mapping[str, Any] | None = None,
    objects: int | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The collection of one corpus.

    Args:
        arrays: pixel arrays that every shard holds.
        shards: numbers of the published shards.
        fingerprint: changes when any shard does.
        splits: what `catalog.split_items.summary_of` says, if the patches are split.
        objects: rows of objects.parquet, if there is one.
        history: what `catalog.changes.history_of` says; its last version is the collection's.
    """
    names = ("eo", "raster", "zarr", "datacube", "classification", "version", "scientific", "table")
    labels = [_LABELS[name] for name in _LABELS if name in arrays]
    return {
        "type": "Collection",
        "id": record.collection_id,
        "stac_version": STAC_VERSION,
        "stac_extensions": [EXTENSIONS[name] for name in names],
        "title": record.title,
        "description": _description(record, labels),
        "keywords": ["sentinel-1", "sentinel-2", "zarr", "machine learning", *(label.keyword for label in labels)],
        "license": "other",
        "providers": _PROVIDERS,
        "extent": {"spatial": {"bbox": [list(summary.bbox)]}, "temporal": {"interval": [list(summary.interval)]}},
        "summaries": _summaries(summary),
        "version": history[-1]["version"] if history else record.version,
        "sci:citation": CITATION,
        "sci:publications": [{"doi": DOI, "citation": CITATION}],
        "cube:dimensions": assets.dimensions(record.side_px),
        "cube:variables": assets.variables(arrays),
        "item_assets": assets.item_assets(arrays, statistics),
        "assets": _assets(summary.patches, objects, bool(labels)),
        "links": _links(record, shards, labels),
        "deepsentinel:schema_version": record.schema_version,
        "deepsentinel:side_px": record.side_px,
        "deepsentinel:arrays": list(arrays),
        "deepsentinel:fingerprint": fingerprint,
        **(splits or {}),
        **({changes.MEMBER: list(history)} if history else {}),
    }


def read_collection(folder: Path) -> dict[str, Any]:
    """The collection that is published in a folder.

    Raises:
        CorpusError: collection.json is missing, damaged, not of this project, or of another schema version.
    """
    path = folder / "collection.json"
    collection = read_document(path, "publish with catalog.publish", MEMBERS)
    check_version(str(path), collection)
    return collection


def check_version(where: str, collection: Mapping[str, Any]) -> None:
    """Raise CorpusError where a collection is of another schema version."""
    if (found := collection["deepsentinel:schema_version"]) != schema.SCHEMA_VERSION:
        raise CorpusError(
            f"{where} has schema version {found}, this software reads {schema.SCHEMA_VERSION}; "
            "install the version that published it, or build and publish again"
        )


def link(rel: str, href: str, title: str | None = None, type_: str = "application/json") -> dict[str, str]:
    """A STAC link."""
    return {"rel": rel, "href": href, "type": type_} | ({"title": title} if title else {})


def _description(record: CorpusRecord, labels: Sequence["_Label"]) -> str:
    text = (
        f"Sentinel-1 gamma0 (VV, VH, terrain corrected) and Sentinel-2 Level-2A reflectance (12 bands) of "
        f"{record.side_px} x {record.side_px} pixels at 10 m, acquired within days of each other, at native "
        "resolution on Sentinel-2's own lattice. Times, platform and orbit of an item are those of its Sentinel-2 "
        "scene; `deepsentinel:s1_*` describes the Sentinel-1 scene. Many patches share one Zarr group: open an item "
        'with `xarray.open_zarr(item.assets["data"].href).sel(patch=item.id)`. '
        "Contains modified Copernicus Sentinel data."
    )
    if labels:
        text += f" Labels: {' and '.join(label.attribution for label in labels)}."
    return text


def _summaries(summary: Summary) -> dict[str, Any]:
    found: dict[str, Any] = {
        "platform": list(summary.platforms),
        "instruments": ["c-sar", "msi"],
        "gsd": [10],
        "eo:cloud_cover": dict(zip(("minimum", "maximum"), summary.cloud_cover, strict=True)),
        "deepsentinel:gap_hours": dict(zip(("minimum", "maximum"), summary.gap_hours, strict=True)),
        "deepsentinel:corine_classes": list(summary.corine_classes),
        "deepsentinel:osm_classes": list(summary.osm_classes),
    }
    return {name: value for name, value in found.items() if value}


def _assets(patches: int, objects: int | None, labelled: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "thumbnail": {
            "href": "./thumbnail.png",
            "type": "image/png",
            "title": "Where the patches lie",
            "roles": ["thumbnail"],
        },
        "items": {
            "href": "./items.parquet",
            "type": PARQUET_TYPE,
            "title": f"All {patches:,} items as stac-geoparquet",
            "roles": ["collection-mirror"],
            "table:row_count": patches,
            "table:primary_geometry": "geometry",
        },
        "statistics": _document("statistics.json", "Moments of every band, pixels of every class, class weights"),
        "changelog": _document("CHANGELOG.md", "What each version changed", "text/markdown"),
    }
    if labelled:
        title = "Every label class with its value, colour and pixels"
        found["classes"] = _document(class_table.NAME, title, "text/csv")
    if objects is not None:
        found["objects"] = {
            "href": f"./{OBJECTS}",
            "type": PARQUET_TYPE,
            "title": f"{objects:,} objects with box, class, area and geometry: ODbL 1.0, © OpenStreetMap contributors",
            "roles": ["data", "label"],
            "table:row_count": objects,
            "table:primary_geometry": "geometry",
        }
    return found


def _document(name: str, title: str, type_: str = "application/json") -> dict[str, Any]:
    return {"href": f"./{name}", "type": type_, "title": title, "roles": ["metadata"]}


def _links(record: CorpusRecord, shards: Sequence[int], labels: Sequence["_Label"]) -> list[dict[str, str]]:
    return [
        link("root", "../catalog.json", "DeepSentinel"),
        link("parent", "../catalog.json", "DeepSentinel"),
        *(link("child", f"./shard-{shard:06d}/catalog.json", f"Shard {shard:06d}") for shard in shards),
        _SENTINEL_LICENCE,
        *({"rel": "license", "href": label.licence, "title": label.terms} for label in labels),
        link("cite-as", f"https://doi.org/{DOI}", "Towards DeepSentinel", "text/html"),
    ]
