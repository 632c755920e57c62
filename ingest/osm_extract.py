"""From an .osm.pbf to sorted tables of features: one pass, with the node index on disk and a bounded memory.

Continued where it stopped: a pass that ended is not repeated, and neither is a theme that was written. Inside a pass
there is no place to go on from: areas are put together from members anywhere in the file, whose blocks have no index.
So a pass that was stopped starts again, and what it left is removed. Relations that cannot be put together (members
outside the extract, open rings) are reported and counted.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import shapely
from numpy.typing import NDArray
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from catalog.osm_classes import OSM, OSM_KEYS, Kind, Theme, names_of, osm_bits
from ingest.errors import PlanError
from ingest.osm_table import areas_m2, features_table, merge_parts, write_part

BATCH_FEATURES = 32_768
_AREA_RELATIONS = ("multipolygon", "boundary")
_log = logging.getLogger(__name__)


class Feature(NamedTuple):
    """One element of OpenStreetMap that belongs to a class."""

    osm_type: str
    """node, way or relation."""
    osm_id: int
    bits: int
    wkb: str
    """Hexadecimal; longitude and latitude."""


@dataclass(slots=True)
class Extraction:
    """What a pass has found."""

    source: str
    """Name of the extract."""
    nbytes: int
    features: Counter[str] = field(default_factory=Counter)
    """Kept, by class."""
    too_small: Counter[str] = field(default_factory=Counter)
    """Left out as smaller than the class' minimum, by class."""
    broken: dict[str, list[int]] = field(default_factory=dict)
    """Ids of elements without a usable geometry, by type."""

    def add_broken(self, osm_type: str, osm_id: int) -> None:
        """Note an element that could not be used."""
        self.broken.setdefault(osm_type, []).append(osm_id)

    def to_json(self) -> str:
        """Indented JSON."""
        fields = {
            "source": self.source,
            "nbytes": self.nbytes,
            "features": dict(sorted(self.features.items())),
            "too_small": dict(sorted(self.too_small.items())),
            "broken": self.broken,
        }
        return json.dumps(fields, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Extraction":
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        return cls(raw["source"], raw["nbytes"], Counter(raw["features"]), Counter(raw["too_small"]), raw["broken"])


def extract(pbf: Path, out: Path) -> Extraction:
    """Write the features of an .osm.pbf as one GeoParquet file a theme, and extract.json.

    Raises:
        PlanError: the file is missing or not a readable .osm.pbf.
    """
    if not pbf.is_file():
        raise PlanError(f"there is no OpenStreetMap extract {pbf}; download one (.osm.pbf) or leave --osm out")
    done = _finished(out / "extract.json", pbf)
    if done is not None:
        return done
    parts = out / "parts"
    found = _finished(parts / "pass.json", pbf)
    if found is None:
        shutil.rmtree(out, ignore_errors=True)
        found = _read_pass(pbf, parts)
        _write_whole(parts / "pass.json", found.to_json())
    for theme in get_args(Theme):
        if not (out / f"{theme}.parquet").exists():
            merge_parts(sorted(parts.glob(f"{theme}-*.arrow")), out / f"{theme}.parquet")
    _write_whole(out / "extract.json", found.to_json())
    shutil.rmtree(parts)
    return found


def _write_whole(path: Path, text: str) -> None:
    """Write the mark that something is done, which must never be half a file."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text)
    aside.rename(path)


def _finished(path: Path, pbf: Path) -> Extraction | None:
    """What an earlier run wrote of the same file; None where there is none."""
    found = Extraction.from_json(path.read_text()) if path.is_file() else None
    same = found is not None and (found.source, found.nbytes) == (pbf.name, pbf.stat().st_size)
    return found if same else None


def _read_pass(pbf: Path, parts: Path) -> Extraction:
    parts.mkdir(parents=True)
    found = Extraction(pbf.name, pbf.stat().st_size)
    columns = SpinnerColumn(), TextColumn("Reading OpenStreetMap: {task.completed:,} features"), TimeElapsedColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("osm", total=None)
        try:
            for number, batch in enumerate(_batches(_features(pbf, parts / "nodes.index", found))):
                _write_batch(batch, parts, number, found)
                progress.advance(task, len(batch))
        except RuntimeError as error:  # what pyosmium raises for a broken file
            shutil.rmtree(parts)
            raise PlanError(
                f"{pbf} is not a readable .osm.pbf file: {error}; download it again and compare its checksum"
            ) from error
    (parts / "nodes.index").unlink(missing_ok=True)
    for osm_type, ids in found.broken.items():
        _log.warning("%s: %d %ss without a usable geometry, such as %s", pbf.name, len(ids), osm_type, ids[:3])
    return found


def _batches(features: Iterable[Feature]) -> Iterator[list[Feature]]:
    batch: list[Feature] = []
    for feature in features:
        batch.append(feature)
        if len(batch) == BATCH_FEATURES:
            yield batch
            batch = []
    if batch:
        yield batch


def _features(pbf: Path, index: Path, found: Extraction) -> Iterator[Feature]:
    """Features in the order of the file; pyosmium itself drops what has none of our keys."""
    import osmium

    keys = osmium.filter.KeyFilter(*OSM_KEYS)
    reader = osmium.FileProcessor(str(pbf)).with_locations(f"sparse_file_array,{index}").with_areas(keys)
    wkb = osmium.geom.WKBFactory()
    areas = _Pairing()
    things: Iterator[Any] = iter(reader.with_filter(keys))
    for thing in things:
        tags = {tag.k: tag.v for tag in thing.tags}
        element = _identity(thing)
        bits = osm_bits(tags, _kind(thing))
        if thing.is_area():
            areas.come(element)
        elif _becomes_area(thing, tags) and (as_area := osm_bits(tags, "area")):
            areas.promise(element)
            bits &= ~as_area
        if not bits or thing.is_relation():
            continue
        try:
            yield Feature(*element, bits, _geometry(wkb, thing))
        except (RuntimeError, osmium.InvalidLocationError):  # no ring, or nodes outside the extract
            found.add_broken(*element)
    for element in sorted(areas.promised):
        found.add_broken(*element)


@dataclass(slots=True)
class _Pairing:
    """Areas that the file promises and has not given yet, and the other way round.

    An area comes when the last of its ways is read, before its relation or after; pairs are forgotten at once, so
    that this stays small.
    """

    promised: set[tuple[str, int]] = field(default_factory=set)
    given: set[tuple[str, int]] = field(default_factory=set)

    def promise(self, element: tuple[str, int]) -> None:
        if element in self.given:
            self.given.remove(element)
        else:
            self.promised.add(element)

    def come(self, element: tuple[str, int]) -> None:
        if element in self.promised:
            self.promised.remove(element)
        else:
            self.given.add(element)


def _becomes_area(thing: Any, tags: Mapping[str, str]) -> bool:
    """Whether pyosmium will give an element again as an area, if it can put it together."""
    if thing.is_relation():
        return tags.get("type") in _AREA_RELATIONS
    return bool(thing.is_way() and len(thing.nodes) > 3 and thing.is_closed() and tags.get("area") != "no")


def _kind(thing: Any) -> Kind:
    return "point" if thing.is_node() else "line" if thing.is_way() else "area"


def _identity(thing: Any) -> tuple[str, int]:
    if thing.is_area():
        return ("way" if thing.from_way() else "relation"), int(thing.orig_id())
    return ("node" if thing.is_node() else "way" if thing.is_way() else "relation"), int(thing.id)


def _geometry(wkb: Any, thing: Any) -> str:
    if thing.is_node():
        return str(wkb.create_point(thing))
    return str(wkb.create_multipolygon(thing)) if thing.is_area() else _known_line(thing)


def _known_line(way: Any) -> str:
    """A way without the nodes that the extract lacks, in one piece or several.

    Raises:
        RuntimeError: no two neighbouring nodes are known.
    """
    runs: list[list[tuple[float, float]]] = [[]]
    for node in way.nodes:
        if node.location.valid():
            runs[-1].append((node.lon, node.lat))
        elif runs[-1]:
            runs.append([])
    lines = [run for run in runs if len(run) > 1]
    if not lines:
        raise RuntimeError("no two neighbouring nodes are in the extract")
    shape = shapely.LineString(lines[0]) if len(lines) == 1 else shapely.MultiLineString(lines)
    return str(shapely.to_wkb(shape, hex=True))


def _write_batch(batch: list[Feature], parts: Path, number: int, found: Extraction) -> None:
    geometries = shapely.from_wkb([feature.wkb for feature in batch])
    broken = ~shapely.is_valid(geometries)
    geometries[broken] = shapely.make_valid(geometries[broken])  # else clipping would fail
    bits = _large_enough(np.array([feature.bits for feature in batch], np.uint32), geometries, found)
    for theme, mask in _theme_masks().items():
        chosen = np.flatnonzero(bits & mask)
        if chosen.size:
            types, ids = zip(*((batch[i].osm_type, batch[i].osm_id) for i in chosen.tolist()), strict=True)
            table = features_table(types, ids, bits[chosen] & mask, geometries[chosen])
            write_part(table, parts / f"{theme}-{number:06d}.arrow")
    for value, count in zip(*(a.tolist() for a in np.unique(bits, return_counts=True)), strict=True):
        found.features.update(dict.fromkeys(names_of(value), count))


def _large_enough(bits: NDArray[np.uint32], geometries: NDArray[Any], found: Extraction) -> NDArray[np.uint32]:
    """The same bits without the classes that an area is too small for."""
    areas, is_area = areas_m2(geometries), shapely.get_dimensions(geometries) == 2
    kept = bits.copy()
    for osm in OSM:
        small = is_area & (bits & np.uint32(osm.value) > 0) & (areas < osm.min_area_m2)
        kept[small] &= ~np.uint32(osm.value)
        found.too_small.update({osm.name: int(small.sum())} if small.any() else {})
    return kept


def _theme_masks() -> Mapping[Theme, np.uint32]:
    return {theme: np.uint32(sum(o.value for o in OSM if o.theme == theme)) for theme in get_args(Theme)}
