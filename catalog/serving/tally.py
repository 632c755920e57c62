"""Values of properties on their way into the index: what their columns hold, and what is remembered of them all."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from catalog.serving.queryables import Kind, Queryable
from catalog.serving.times import to_us

MAX_VALUES = 64  # a property of so few values is listed whole in the queryables


class Tally:
    """What values each property has, up to a limit, which properties some items lack, and which some have stated."""

    def __init__(self, asked: Iterable[Queryable]) -> None:
        self.values: dict[str, set[Any]] = {one.name: set() for one in asked}
        self.lacking: set[str] = set()
        self.stated: set[str] = set()

    def add(self, name: str, values: Sequence[Any]) -> None:
        """Count the values of one item."""
        known = self.values[name]
        if len(known) <= MAX_VALUES:
            known.update(values)

    def few(self) -> dict[str, list[Any]]:
        """Properties of few values, with all of them."""
        return {name: sorted(found) for name, found in self.values.items() if 0 < len(found) <= MAX_VALUES}


def column_value(asked: Queryable, value: Any, tally: Tally) -> Any:
    """A property as its column holds it."""
    if value is None:
        tally.lacking.add(asked.name)
        return None
    tally.stated.add(asked.name)
    if asked.kind in (Kind.NUMBERS, Kind.TEXTS):
        tally.add(asked.name, value)
        return json.dumps(value)
    if asked.kind is Kind.TIME:
        return to_us(value)
    tally.add(asked.name, (value,))
    return value
