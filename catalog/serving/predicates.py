"""CQL2-JSON as conditions on items: every name is a known queryable, every value is bound and of the right kind."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from catalog.serving import arrays, sql, temporal
from catalog.serving.geometries import check_bbox, shape_of
from catalog.serving.guards import RequestError
from catalog.serving.operands import Columns, alike, exactly
from catalog.serving.queryables import Kind, Queryable
from catalog.serving.sql import Condition, Sql, joined, quoted

MAX_LEAVES = 500  # of a filter; SQLite's expressions end at a depth of 1,000
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Predicates:
    """Turns filters into conditions over the columns of one index."""

    def __init__(self, asked: Sequence[Queryable]) -> None:
        """Args: asked: in the order in which the `tag` table numbers them."""
        self.columns = Columns(asked)
        self._operators: Mapping[str, Callable[[str, Any], Condition]] = {
            **dict.fromkeys(("and", "or"), self._connective),
            "not": self._negation,
            **dict.fromkeys(_MIRRORED, self._comparison),
            "between": self._between,
            "in": self._in,
            "like": self._like,
            "isnull": self._is_null,
            "s_intersects": _s_intersects,
            **dict.fromkeys(temporal.RELATIONS, partial(temporal.relation, self.columns)),
            **dict.fromkeys(arrays.OPERATORS, partial(arrays.array_condition, asked)),
        }

    def conditions(self, expression: Any) -> list[Condition]:
        """The conditions of a filter, which must all hold.

        Raises:
            RequestError: it is no CQL2-JSON, or names or combines what this server does not know.
        """
        if (leaves := _leaves(expression)) > MAX_LEAVES:
            raise RequestError(f"filter has {leaves:,} parts (limit {MAX_LEAVES}); use IN for lists of values")
        return self._conjuncts(expression)

    def _conjuncts(self, expression: Any) -> list[Condition]:
        if isinstance(expression, Mapping) and expression.get("op") == "and":
            return [condition for part in _parts(expression) for condition in self._conjuncts(part)]
        return [self._condition(expression)]

    def _condition(self, expression: Any) -> Condition:
        if isinstance(expression, bool):
            return Condition(Sql("?", (int(expression),)))
        if not isinstance(expression, Mapping) or not {"op", "property"} & set(expression):
            raise RequestError(f"{str(expression)[:100]} is no condition; give an object with op and args")
        if "property" in expression:
            return self._comparison("=", [expression, True])
        operator = str(expression["op"]).lower()
        if operator not in self._operators:
            known = ", ".join(sorted(self._operators))
            raise RequestError(f"filter has the unknown operator {operator[:60]!r}; this server knows {known}")
        return self._operators[operator](operator, expression.get("args"))

    def _connective(self, operator: str, args: Any) -> Condition:
        parts = [self._condition(part).test for part in _parts({"op": operator, "args": args})]
        return Condition(joined(operator.upper(), parts))

    def _negation(self, operator: str, args: Any) -> Condition:
        test = self._condition(exactly(1, operator, args)[0]).test
        return Condition(Sql(f"NOT ({test.text})", test.values))

    def _comparison(self, operator: str, args: Any) -> Condition:
        left, right = alike(*(self.columns.operand(arg) for arg in exactly(2, operator, args)))
        if left.column is None and right.column is not None:
            left, right, operator = right, left, _MIRRORED[operator]
        test = Sql(f"{left.sql.text} {operator} {right.sql.text}", left.sql.values + right.sql.values)
        if left.column is not None and right.is_literal and operator != "<>":
            return sql.listed(left.column, test)
        return Condition(test)

    def _between(self, operator: str, args: Any) -> Condition:
        value, *ends = (self.columns.operand(arg) for arg in exactly(3, operator, args))
        low, high = (alike(value, end)[1] for end in ends)
        value = alike(value, low)[0]
        text = f"{value.sql.text} BETWEEN {low.sql.text} AND {high.sql.text}"
        test = Sql(text, value.sql.values + low.sql.values + high.sql.values)
        if value.column is not None and low.is_literal and high.is_literal:
            return sql.listed(value.column, test)
        return Condition(test)

    def _in(self, operator: str, args: Any) -> Condition:
        stated, values = exactly(2, operator, args)
        if not isinstance(values, list) or not values:
            raise RequestError("IN needs a list of values")
        operand = self.columns.operand(stated)
        literals = [alike(operand, self.columns.operand(value))[1] for value in values]
        if not all(literal.is_literal for literal in literals):
            raise RequestError("IN takes a list of plain values")
        inside = sql.in_list(operand.sql.text, [literal.sql.values[0] for literal in literals])
        test = Sql(inside.text, operand.sql.values + inside.values)
        return sql.listed(operand.column, test) if operand.column is not None else Condition(test)

    def _like(self, operator: str, args: Any) -> Condition:
        value, pattern = (self.columns.operand(arg) for arg in exactly(2, operator, args))
        if value.kind is not Kind.TEXT or pattern.column is not None or pattern.kind not in (None, Kind.TEXT):
            raise RequestError("LIKE compares a text property with a pattern, in which % and _ are wild")
        return Condition(
            Sql(f"{value.sql.text} GLOB {pattern.sql.text}", (*value.sql.values, _glob(str(pattern.sql.values[0]))))
        )

    def _is_null(self, operator: str, args: Any) -> Condition:
        (stated,) = exactly(1, operator, args)
        if not isinstance(stated, Mapping) or "property" not in stated:
            raise RequestError("IS NULL asks about a property")
        name, kind = self.columns.property(str(stated["property"]))
        test = Sql(f"{quoted(name)} IS NULL")
        return Condition(test) if kind.is_array else sql.listed(name, test)


def _s_intersects(operator: str, args: Any) -> Condition:
    sides = exactly(2, operator, args)
    stated = [side for side in sides if side != {"property": "geometry"}]
    if len(stated) != 1:
        raise RequestError("s_intersects compares the property geometry with one geometry")
    if isinstance(stated[0], Mapping) and isinstance(stated[0].get("bbox"), list):
        return sql.in_bbox(*check_bbox(stated[0]["bbox"]))
    return sql.in_shape(shape_of(stated[0]))


def _glob(pattern: str) -> str:
    r"""A pattern of LIKE as one of GLOB, which minds case: % is *, _ is ?, and a backslash takes away their meaning."""
    found, characters = [], iter(pattern)
    for character in characters:
        if character == "\\":
            character = next(characters, "\\")
            found.append(f"[{character}]" if character in "*?[" else character)
        else:
            found.append({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(character, character))
    return "".join(found)


def _parts(expression: Mapping[str, Any]) -> list[Any]:
    parts = expression.get("args")
    if not isinstance(parts, list) or not parts:
        raise RequestError(f"{expression['op']} has nothing to join")
    return parts


def _leaves(expression: Any) -> int:
    """Conditions in a filter."""
    if isinstance(expression, Mapping) and str(expression.get("op")).lower() in ("and", "or", "not"):
        args = expression.get("args")
        return sum(map(_leaves, args)) if isinstance(args, list) else 0
    return 1
