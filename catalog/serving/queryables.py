"""What can be asked of items: each property of the index with its kind, as JSON Schema for clients to read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa


class Kind(Enum):
    """How values of a property compare."""

    NUMBER = "number"
    TEXT = "text"
    TRUTH = "boolean"
    TIME = "time"
    NUMBERS = "array of numbers"
    TEXTS = "array of text"

    @property
    def is_array(self) -> bool:
        """Whether a property holds many values."""
        return self in (Kind.NUMBERS, Kind.TEXTS)


@dataclass(frozen=True, slots=True)
class Queryable:
    """One property that filters and sorts can name."""

    name: str
    kind: Kind


MAX_VALUES = 64  # a property of so few values is listed whole
_DIALECT = "https://json-schema.org/draft/2019-09/schema"  # the newest that stac-api-validator 0.6 knows
_OUTSIDE = ("type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets")
_NOT_ASKED = ("proj:shape", "proj:transform", "proj:bbox")  # arrays of numbers whose order is what they say
ALWAYS = (Queryable("id", Kind.TEXT), Queryable("collection", Kind.TEXT))
_SCHEMAS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.NUMBER: {"type": "number"},
    Kind.TEXT: {"type": "string"},
    Kind.TRUTH: {"type": "boolean"},
    Kind.TIME: {"type": "string", "format": "date-time"},
    Kind.NUMBERS: {"type": "array", "items": {"type": "number"}},
    Kind.TEXTS: {"type": "array", "items": {"type": "string"}},
}


def queryables_of(index: pa.Schema) -> tuple[Queryable, ...]:
    """The properties of an index that can be asked, in its order."""
    kinds = {field.name: _kind(field) for field in index if field.name not in (*_OUTSIDE, *_NOT_ASKED)}
    return tuple(Queryable(name, kind) for name, kind in kinds.items() if kind is not None)


def json_schema(href: str, title: str, asked: Iterable[Queryable], values: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Queryables as JSON Schema, without a reference to anywhere.

    Args:
        values: for properties of few values, which they are.
    """
    properties: dict[str, Any] = {"geometry": {"title": "Footprint", "type": "object"}}
    for one in (*ALWAYS, *asked):
        described = {"title": _title(one.name), **_SCHEMAS[one.kind]}
        # not of numbers: a form would offer the measured values alone, where people type a limit between them
        few = {"enum": values[one.name]} if one.name in values and one.kind is not Kind.NUMBER else {}
        properties[one.name] = described | {"items": described["items"] | few} if one.kind.is_array else described | few
    return {
        "$schema": _DIALECT,
        "$id": href,
        "type": "object",
        "title": title,
        "properties": properties,
        "additionalProperties": False,
    }


def _kind(field: pa.Field) -> Kind | None:
    kind, name = field.type, field.name
    if pa.types.is_timestamp(kind) or (pa.types.is_string(kind) and name.endswith("datetime")):
        return Kind.TIME
    if pa.types.is_list(kind):
        inner = _scalar(kind.value_type)
        return {Kind.NUMBER: Kind.NUMBERS, Kind.TEXT: Kind.TEXTS}.get(inner) if inner else None
    return _scalar(kind)


def _scalar(kind: pa.DataType) -> Kind | None:
    if pa.types.is_boolean(kind):
        return Kind.TRUTH
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return Kind.NUMBER
    return Kind.TEXT if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def _title(name: str) -> str:
    """`deepsentinel:s1_valid_share` as "s1 valid share"."""
    return name.rpartition(":")[2].replace("_", " ")
