"""Which patches of an index fit: by place, time, sensors, quality, labels and split."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalog.errors import CorpusError
from catalog.labels import check_classes

Mask = NDArray[np.bool_]
SEASONS = {"winter": (12, 1, 2), "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11)}
"""Months of the meteorological seasons of the northern hemisphere; the southern one's are opposite."""
COLUMNS = (
    "id", "datetime", "start_datetime", "end_datetime", "platform", "eo:cloud_cover", "sat:orbit_state",
    "deepsentinel:s1_orbit_state", "deepsentinel:s1_platform", "deepsentinel:gap_hours", "deepsentinel:corine_classes",
    "deepsentinel:osm_classes", "deepsentinel:split", "deepsentinel:fold", "deepsentinel:near_folds", "grid:code",
)  # fmt: skip
"""Columns of an index that `select` looks at."""


@dataclass(frozen=True)
class Criteria:
    """What patches must fit; None and nothing mean anything does."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees: patches that touch it. West > east spans the antimeridian."""
    datetime: str | None = None
    """A day or time, or START/END of a range with ".." for an open end, such as 2021-05-01/2021-08-31 or 2021-05/..:
    patches whose optical image was taken then."""
    cloud_max: float | None = None
    """Greatest cloud cover of the patch, percent."""
    gap_max: float | None = None
    """Greatest time between the two images, hours."""
    has_class: tuple[str, ...] = ()
    """CORINE codes such as 311, and names of OpenStreetMap classes such as solar_farm: patches that show all."""
    split: tuple[str, ...] = ()
    """train, test or none; several are any of them."""
    season: tuple[str, ...] = ()
    """winter, spring, summer or autumn, each hemisphere's own."""
    orbit: str | None = None
    """ascending or descending: of the Sentinel-1 scene."""
    platform: tuple[str, ...] = ()
    """sentinel-1a, sentinel-2b, ...: of either scene; several are any of them."""
    tile: tuple[str, ...] = ()
    """Sentinel-2 tiles such as 33UUU; several are any of them."""
    ids: tuple[str, ...] = ()
    """Patches by id."""

    def __post_init__(self) -> None:
        check_classes(self.has_class)
        if self.bbox is not None:
            _check_bbox(self.bbox)
        for name, known in {"season": tuple(SEASONS), "split": ("train", "test", "none")}.items():
            if odd := [value for value in getattr(self, name) if value not in known]:
                raise CorpusError(f"there is no {name} {', '.join(odd)}; take {', '.join(known)}")
        if self.orbit not in (None, "ascending", "descending"):
            raise CorpusError(f"there is no orbit {self.orbit}; take ascending or descending")


def select(table: pa.Table, criteria: Criteria) -> pa.Table:
    """The rows of an index that fit, in its order.

    Args:
        table: as `catalog.index.read_index` gives it, with `COLUMNS`.
    """
    kept: Mask = np.ones(table.num_rows, bool)
    for test in _tests(criteria):
        kept &= test(table)
    return table.filter(pa.array(kept))


def fitting_alone(table: pa.Table, criteria: Criteria) -> dict[str, int]:
    """How many rows fit each criterion that is given by itself, each class by itself too."""
    given = {field.name: getattr(criteria, field.name) for field in fields(criteria)}
    parts: list[tuple[str, Any]] = [("has_class", (name,)) for name in given.pop("has_class")]
    parts += [(name, value) for name, value in given.items() if value not in (None, ())]
    return {f"{name} {_words(value)}": select(table, Criteria(**{name: value})).num_rows for name, value in parts}


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def parse_interval(text: str) -> tuple[dt.datetime, dt.datetime]:
    """First moment of an interval and the first one after it, UTC.

    Raises:
        CorpusError: not a time, or the end comes before the start.
    """
    first, slash, last = text.partition("/")
    if not slash:
        last = first
    open_ends = ("", "..")
    start = dt.datetime.min.replace(tzinfo=dt.UTC) if first in open_ends else _span(first, text)[0]
    end = dt.datetime.max.replace(tzinfo=dt.UTC) if last in open_ends else _span(last, text)[1]
    if end <= start:
        raise CorpusError(f"the interval {text} ends before it starts; write START/END")
    return start, end


def _tests(criteria: Criteria) -> list[Callable[[pa.Table], Mask]]:
    """One test for each criterion that is given."""
    found: list[Callable[[pa.Table], Mask]] = []
    if (box := criteria.bbox) is not None:
        found.append(lambda table: _touches(table, box))
    if (interval := criteria.datetime) is not None:
        found.append(lambda table: _taken(table, *parse_interval(interval)))
    if (cloud := criteria.cloud_max) is not None:
        found.append(lambda table: _numbers(table["eo:cloud_cover"]) <= cloud)
    if (gap := criteria.gap_max) is not None:
        found.append(lambda table: np.abs(_numbers(table["deepsentinel:gap_hours"])) <= gap)
    found += [lambda table, name=name: _shows(table, name) for name in criteria.has_class]  # type: ignore[misc]
    if criteria.split:
        found.append(lambda table: _is_in(table["deepsentinel:split"], criteria.split))
    if criteria.season:
        found.append(lambda table: _in_season(table, criteria.season))
    if criteria.orbit is not None:
        found.append(lambda table: _is_in(table["deepsentinel:s1_orbit_state"], [str(criteria.orbit)]))
    if platforms := [name.lower() for name in criteria.platform]:
        sides = ("platform", "deepsentinel:s1_platform")
        found.append(lambda table: np.logical_or(*(_is_in(table[side], platforms) for side in sides)))
    if tiles := [f"MGRS-{name.upper()}" for name in criteria.tile]:
        found.append(lambda table: _is_in(table["grid:code"], tiles))
    if criteria.ids:
        found.append(lambda table: _is_in(table["id"], criteria.ids))
    return found


def _touches(table: pa.Table, box: tuple[float, float, float, float]) -> Mask:
    west, south, east, north = (table[name].to_numpy() for name in ("west", "south", "east", "north"))
    box_east = box[2] + 360 * (box[0] > box[2])
    wide = east + 360 * (west > east)  # of patches across the antimeridian
    lengthwise = np.zeros(table.num_rows, bool)
    for turn in (-360.0, 0.0, 360.0):
        lengthwise |= (west + turn <= box_east) & (wide + turn >= box[0])
    return np.asarray(lengthwise & (south <= box[3]) & (north >= box[1]))


def _taken(table: pa.Table, start: dt.datetime, end: dt.datetime) -> Mask:
    times = table["datetime"].to_numpy()
    low, high = (np.datetime64(time.replace(tzinfo=None), "us") for time in (start, end))
    return np.asarray((times >= low) & (times < high))


def _shows(table: pa.Table, name: str) -> Mask:
    column, value = ("deepsentinel:corine_classes", int(name)) if name.isdigit() else ("deepsentinel:osm_classes", name)
    lists = table[column].combine_chunks()
    parents, values = pc.list_parent_indices(lists), pc.list_flatten(lists)
    found = np.zeros(table.num_rows, bool)
    found[parents.filter(pc.equal(values, value)).to_numpy()] = True
    return found


def _in_season(table: pa.Table, seasons: Sequence[str]) -> Mask:
    months = pc.month(table["datetime"]).to_numpy()
    south = table["north"].to_numpy() < 0
    local = np.where(south, (months + 5) % 12 + 1, months)
    return np.isin(local, [month for season in seasons for month in SEASONS[season]])


def _is_in(column: pa.ChunkedArray, values: Sequence[str]) -> Mask:
    return np.asarray(pc.is_in(column, value_set=pa.array(list(values), pa.string())).to_numpy(), bool)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _span(text: str, interval: str) -> tuple[dt.datetime, dt.datetime]:
    """First moment of a year, month, day or time, and the first one after it."""
    try:
        parts = [int(part) for part in text.split("-")] if len(text) <= len("2021-05-01") else []
        if len(parts) in (1, 2):
            year, month = (*parts, 1)[:2]
            after = (year + 1, 1) if len(parts) == 1 or month == 12 else (year, month + 1)
            end = dt.datetime.max if after[0] > dt.MAXYEAR else dt.datetime(*after, 1)
            return dt.datetime(year, month, 1, tzinfo=dt.UTC), end.replace(tzinfo=dt.UTC)
        time = dt.datetime.fromisoformat(text)
        time = time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError) as error:
        raise CorpusError(
            f"{text!r} in {interval!r} is no date ({error}); write 2021, 2021-05 or 2021-05-31"
        ) from error
    length = dt.timedelta(days=1) if len(parts) == 3 else dt.timedelta(microseconds=1)
    last = dt.datetime.max.replace(tzinfo=dt.UTC)
    return time, time + length if time <= last - length else last


def _check_bbox(bbox: tuple[float, float, float, float]) -> None:
    west, south, east, north = bbox
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise CorpusError(
            f"bbox {west:g} {south:g} {east:g} {north:g} is no box; give west south east north in degrees, "
            "longitudes -180..180, south <= north"
        )
