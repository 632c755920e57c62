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
        """The same item with those members."""
        found = dict(item) if not self.include else {}
        for path in sorted(self.exclude):
            _remove(found, path.split("."))
        for path in sorted({*self.include, *_ALWAYS} if self.include else ()):
            _copy(item, found, path.split("."))
        if self.include:
            for path in sorted(self.exclude):
                _remove(found, path.split("."))
        return found


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
