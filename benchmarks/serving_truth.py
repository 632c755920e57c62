"""What a search must answer, from the columns of the geoparquet alone: every row looked at, no index, no server."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

CLOUDS, CLASSES = "eo:cloud_cover", "deepsentinel:corine_classes"
_PLAIN = (CLOUDS, "deepsentinel:split", "platform")
_TIMES = ("start_datetime", "end_datetime")


class Truth:
    """The items of one index, whose footprints are boxes."""

    def __init__(self, index: Path) -> None:
        table = pq.read_table(index, columns=["id", "bbox", *_TIMES, *_PLAIN, CLASSES])
        box = table["bbox"].combine_chunks()
        self._west, self._south, self._east, self._north = (
            box.field(edge).to_numpy() for edge in ("xmin", "ymin", "xmax", "ymax")
        )
        self._start, self._end = (table[name].to_numpy().astype("datetime64[us]") for name in _TIMES)
        self._columns = {name: table[name].to_numpy() for name in _PLAIN}
        classes = table[CLASSES].combine_chunks()
        self._class = pc.list_flatten(classes).to_numpy()
        self._row_of_class = pc.list_parent_indices(classes).to_numpy()
        self._row = {name: row for row, name in enumerate(table["id"].to_pylist())}

    def matches(self, body: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Which rows a search finds."""
        found = np.ones(len(self._west), bool)
        if "bbox" in body:
            found &= self._in_box(*body["bbox"])
        if "intersects" in body:
            found &= self._in_shape(shapely.geometry.shape(body["intersects"]))
        if "datetime" in body:
            found &= self._in_interval(body["datetime"])
        if "filter" in body:
            found &= self._holds(body["filter"])
        return found

    def wrong(self, body: Mapping[str, Any], features: Sequence[Mapping[str, Any]], limit: int) -> str | None:
        """What is wrong with a first page; None where nothing is."""
        matches = self.matches(body)
        rows = [self._row.get(item["id"], -1) for item in features]
        if -1 in rows or not matches[rows].all():
            return "holds items that do not match"
        expected = min(limit, int(matches.sum()))
        if len(set(rows)) != expected:
            return "lacks items" if len(set(rows)) < expected else "holds more than the limit"
        if "sortby" in body and not self._is_sorted(body["sortby"][0], matches, rows):
            return "is sorted wrongly"
        return "holds fields not asked for" if "fields" in body and any("assets" in item for item in features) else None

    def _in_box(self, west: float, south: float, east: float, north: float) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (
            (self._west <= east) & (self._east >= west) & (self._south <= north) & (self._north >= south)
        )
        return found

    def _in_shape(self, shape: shapely.Geometry) -> NDArray[np.bool_]:
        found = self._in_box(*shape.bounds)
        shapely.prepare(shape)
        near = np.flatnonzero(found)
        edges = (side[near] for side in (self._west, self._south, self._east, self._north))
        found[near] = shapely.intersects(shape, shapely.box(*edges))
        return found

    def _in_interval(self, stated: str) -> NDArray[np.bool_]:
        first, last = (None if end == ".." else _time(end) for end in stated.split("/"))
        found = np.ones(len(self._west), bool)
        if first is not None:
            found &= self._end >= first
        if last is not None:
            found &= self._start <= last
        return found

    def _holds(self, expression: Mapping[str, Any]) -> NDArray[np.bool_]:
        op, args = expression["op"], expression["args"]
        if op == "and":
            return np.logical_and.reduce([self._holds(part) for part in args])
        name, value = args[0]["property"], args[1]
        if op == "a_contains":
            found = np.zeros(len(self._west), bool)
            found[self._row_of_class[self._class == value[0]]] = True
            return found
        return self._columns[name] < value if op == "<" else self._columns[name] == value

    def _is_sorted(self, key: Mapping[str, str], matches: NDArray[np.bool_], rows: Sequence[int]) -> bool:
        values = self._columns[key["field"].removeprefix("properties.")]
        expected = np.sort(values[matches])
        if key["direction"] == "desc":
            expected = expected[::-1]
        return bool(np.array_equal(values[rows], expected[: len(rows)]))


def _time(stated: str) -> np.datetime64:
    return np.datetime64(dt.datetime.fromisoformat(stated).astimezone(dt.UTC).replace(tzinfo=None), "us")
