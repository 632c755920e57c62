"""CQL2 as requests bring it, text or JSON, turned into JSON of bounded size."""

import json
import re
from collections.abc import Mapping
from typing import Any

from catalog.serving.guards import MAX_DEPTH, RequestError, depth

MAX_CHARS = 20_000  # about a thousand ids in an IN list
MAX_COMPARISONS = 500
# The parser of the cql2 package recurses on its own stack and ends the process between 1,000 and 5,000 levels
# (cql2 0.6.0); brackets, runs of prefixes and chains of comparisons are what makes levels.
_PREFIXES = re.compile(r"(?:(?:\bnot\b|[-+])\s*){17}", re.IGNORECASE)
_COMPARISON = re.compile(r"[<>=]+|\blike\b|\bbetween\b", re.IGNORECASE)
_QUERY_OPERATORS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_QUERY_PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}
_STRING = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")


def parse_filter(stated: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """The CQL2-JSON of a filter that is given as JSON, as text of JSON, or as CQL2 text.

    Raises:
        RequestError: it is no CQL2, or larger than the limits.
    """
    if not isinstance(stated, str):
        return stated
    if len(stated) > MAX_CHARS:
        raise RequestError(f"filter has {len(stated):,} characters (limit {MAX_CHARS:,}); send it by POST as cql2-json")
    return _from_json(stated) if stated.lstrip().startswith("{") else _from_text(stated)


def query_to_cql2(query: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The STAC query extension as CQL2-JSON.

    Raises:
        RequestError: an unknown operator.
    """
    found = []
    for name, tests in query.items():
        for operator, value in tests.items():
            args = [{"property": name.removeprefix("properties.")}]
            if operator in _QUERY_OPERATORS:
                found.append({"op": _QUERY_OPERATORS[operator], "args": [*args, value]})
            elif operator == "in":
                found.append({"op": "in", "args": [*args, value]})
            elif operator in _QUERY_PATTERNS and isinstance(value, str):
                literal = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
                found.append({"op": "like", "args": [*args, _QUERY_PATTERNS[operator].format(literal)]})
            else:
                known = ", ".join([*_QUERY_OPERATORS, "in", *_QUERY_PATTERNS])
                raise RequestError(f"query of {name!r} with {operator!r}: {value!r:.80} is unknown; operators: {known}")
    return {"op": "and", "args": found}


def _from_json(stated: str) -> dict[str, Any]:
    if (deep := depth(stated.encode())) > MAX_DEPTH:
        raise RequestError(f"filter nests {deep} brackets deep (limit {MAX_DEPTH}); flatten it")
    try:
        found = json.loads(stated)
    except ValueError as error:
        raise RequestError(f"filter is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise RequestError("filter is no JSON object")
    return found


def _from_text(stated: str) -> dict[str, Any]:
    import cql2

    bare = _STRING.sub("", stated)
    if (deep := depth(bare.translate({ord("("): "[", ord(")"): "]"}).encode())) > MAX_DEPTH:
        raise RequestError(f"filter nests {deep} brackets deep (limit {MAX_DEPTH}); flatten it")
    if len(_COMPARISON.findall(bare)) > MAX_COMPARISONS:
        raise RequestError(f"filter makes more than {MAX_COMPARISONS} comparisons; use IN for lists of values")
    if _PREFIXES.search(bare):
        raise RequestError("filter piles up NOT or signs; one of each is enough")
    try:
        found: dict[str, Any] = cql2.parse_text(stated).to_json()
    except (cql2.ParseError, cql2.ValidationError) as error:
        raise RequestError(f"filter is no CQL2 text: {_reason(str(error))}") from error
    return found


def _reason(message: str) -> str:
    """The parser's multi-line message as one line: where, and what it expected."""
    lines = [line.strip(" |=->") for line in message.splitlines()]
    return ", ".join(line for line in (lines[0], lines[-1]) if line)[:200]
