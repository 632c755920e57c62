"""The two sides of a comparison in CQL2-JSON: properties, and literals of the right kind."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from catalog.serving.guards import RequestError
from catalog.serving.queryables import ALWAYS, Kind, Queryable
from catalog.serving.sql import Sql, quoted
from catalog.serving.times import to_us


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of a comparison."""

    sql: Sql
    kind: Kind | None
    """None for a literal text, which may yet be a time."""
    column: str | None = None
    """Name of the property where it is one, and nothing was done to it."""

    @property
    def is_literal(self) -> bool:
        """Whether it is one bound value."""
        return self.sql.text == "?"


class Columns:
    """The properties that filters and sorts can name."""

    def __init__(self, asked: Iterable[Queryable]) -> None:
        self._kinds = {one.name: one.kind for one in (*asked, *ALWAYS)}

    def property(self, name: str) -> tuple[str, Kind]:
        """A property by the name that a filter or a sort gives it, and its kind.

        Raises:
            RequestError: there is none.
        """
        for known in (name, name.removeprefix("properties.")):
            if known in self._kinds:
                return known, self._kinds[known]
        close = difflib.get_close_matches(name, [*self._kinds, "geometry"], 1)
        hint = f" did you mean {close[0]!r}?" if close else ""
        raise RequestError(f"{name[:100]!r} is no queryable;{hint} GET /api/queryables lists them")

    def operand(self, stated: Any) -> Operand:
        """A property or a literal.

        Raises:
            RequestError: it is neither.
        """
        match stated:
            case bool():
                return Operand(Sql("?", (int(stated),)), Kind.TRUTH)
            case int() | float():
                return Operand(Sql("?", (float(stated),)), Kind.NUMBER)
            case str():
                return Operand(Sql("?", (stated,)), None)
            case {"timestamp": str(time)} | {"date": str(time)}:
                return Operand(Sql("?", (to_us(time),)), Kind.TIME)
            case {"property": str(name)}:
                known, kind = self.property(name)
                return Operand(Sql(quoted(known)), kind, known)
            case {"op": "casei", "args": [inner]}:
                return _folded(self.operand(inner))
        raise RequestError(f"{str(stated)[:100]} is no property, text, number, time or truth")


def alike(left: Operand, right: Operand) -> tuple[Operand, Operand]:
    """Both sides of a comparison, a literal text turned into what the other side is.

    Raises:
        RequestError: they do not compare.
    """
    left, right = _as(left, right.kind), _as(right, left.kind)
    if left.kind is not right.kind or (left.kind is not None and left.kind.is_array):
        raise RequestError(f"{_said(left)} does not compare with {_said(right)}")
    return left, right


def exactly(count: int, operator: str, args: Any) -> list[Any]:
    """The arguments of an operator.

    Raises:
        RequestError: it has more or fewer.
    """
    if not isinstance(args, list) or len(args) != count:
        found = len(args) if isinstance(args, list) else "none"
        raise RequestError(f"{operator} takes {count} arguments; there are {found}")
    return args


def _as(operand: Operand, kind: Kind | None) -> Operand:
    if operand.kind is not None or kind not in (Kind.TIME, Kind.TEXT):
        return operand
    values = (to_us(operand.sql.values[0]),) if kind is Kind.TIME else operand.sql.values
    return replace(operand, sql=Sql("?", values), kind=kind)


def _folded(operand: Operand) -> Operand:
    if operand.kind not in (Kind.TEXT, None):
        raise RequestError(f"casei takes text; {_said(operand)} is none")
    return Operand(Sql(f"lower({operand.sql.text})", operand.sql.values), Kind.TEXT)


def _said(operand: Operand) -> str:
    kind = "text" if operand.kind is None else operand.kind.value
    return f"{operand.column!r} ({kind})" if operand.column else f"{str(operand.sql.values)[1:60]} ({kind})"
