"""The fields extension: which members of items a response holds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# what makes an item valid, https://github.com/stac-api-extensions/fields
_DEFAULT = ("type", "stac_version", "id", "geometry", "bbox", "links", "assets", "properties.datetime", "collection")
_ALWAYS = ("id", "collection")


@dataclass(frozen=True, slots=True)
class Fields:
    """Members to keep and to leave out, as dotted paths."""

    include: frozenset[str]
    exclude: frozenset[str]

    @classmethod
    def of(cls, include: Collection[str] | None, exclude: Collection[str] | None) -> "Fields":
        """From a request; nothing stated is the least that makes an item valid."""
        kept = frozenset(include or ())
        return cls(kept if kept or exclude else frozenset(_DEFAULT), frozenset(exclude or ()) - kept)

    @classmethod
    def parse(cls, stated: Collection[str]) -> "Fields":
        """From the parameter of GET requests: names with a plus or none to keep, with a minus to leave out."""
        exclude = [name[1:] for name in stated if name.startswith("-")]
        return cls.of([name.lstrip("+ ") for name in stated if name and not name.startswith("-")], exclude)

    def apply(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The same item with those members; of two paths one of which is in the other, the longer one decides."""
        if not self.include:
            return _without(dict(item), self.exclude)
        found: dict[str, Any] = {}
        for path in sorted({*self.include, *_ALWAYS}):
            _copy(item, found, path.split("."))
        outer = {path for path in self.exclude if any(kept.startswith(f"{path}.") for kept in self.include)}
        return _without(found, self.exclude - outer)


def _without(item: dict[str, Any], paths: Collection[str]) -> dict[str, Any]:
    for path in sorted(paths):
        _remove(item, path.split("."))
    return item


def _copy(source: Mapping[str, Any], target: dict[str, Any], path: list[str]) -> None:
    name, rest = path[0], path[1:]
    if name not in source:
        return
    if not rest or not isinstance(source[name], Mapping):
        target[name] = source[name]
        return
    target[name] = dict(target.get(name, {}))
    _copy(source[name], target[name], rest)


def _remove(target: dict[str, Any], path: list[str]) -> None:
    name, rest = path[0], path[1:]
    if not rest:
        target.pop(name, None)
    elif isinstance(target.get(name), Mapping):
        target[name] = dict(target[name])
        _remove(target[name], rest)
