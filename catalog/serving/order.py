"""The order of results, and where in it the next page starts."""

from collections.abc import Sequence
from typing import Any

from catalog.serving.sql import Sql, index_of, joined, quoted


class Order:
    """Columns to sort by, and then the default order, so that no two items stand alike.

    The default order is that of `n`: the newest first. A missing value stands before all others, and last where its
    column descends.

    Attributes:
        columns: SQL of what places an item.
        text: SQL after ORDER BY.
        index: how SQLite walks `item` in this order.
    """

    def __init__(self, sort: Sequence[tuple[str, bool]], complete: frozenset[str]) -> None:
        """Args: sort: columns and whether each descends; complete: the columns that no item lacks."""
        if [name for name, _ in sort] == ["datetime"]:  # that is what the default order is made of
            self._keys: list[tuple[str, bool]] = [("n", not sort[0][1])]
        else:
            self._keys = [*((quoted(name), descends) for name, descends in sort), ("n", bool(sort) and sort[-1][1])]
        self._first_complete = len(self._keys) == 1 or sort[0][0] in complete
        self.columns = [f"item.{column}" for column, _ in self._keys]
        self.text = ", ".join(
            f"item.{column} DESC" if descends else f"item.{column}" for column, descends in self._keys
        )
        self.index = "NOT INDEXED" if len(self._keys) == 1 else f"INDEXED BY {index_of(sort[0][0])}"

    def after(self, values: Sequence[Any]) -> Sql:
        """What holds of the items after one with these values of `columns`."""
        ways = []
        for i, (column, descends) in enumerate(self._keys):
            equal = [
                Sql(f"item.{name} IS ?", (value,)) for (name, _), value in zip(self._keys[:i], values, strict=False)
            ]
            ways.append(joined("AND", [*equal, _beyond(f"item.{column}", descends, values[i])]))
        after = joined("OR", ways)
        return joined("AND", [*self._seek(values[0]), after])

    def _seek(self, value: Any) -> list[Sql]:
        """A bound that lets SQLite jump to the page instead of walking there, where one can be given."""
        column, descends = self._keys[0]
        if value is None or (descends and not self._first_complete):
            return []
        return [Sql(f"item.{column} {'<=' if descends else '>='} ?", (value,))]


def _beyond(column: str, descends: bool, value: Any) -> Sql:
    if value is None:
        return Sql("0") if descends else Sql(f"{column} IS NOT NULL")
    return Sql(f"({column} < ? OR {column} IS NULL)", (value,)) if descends else Sql(f"{column} > ?", (value,))
