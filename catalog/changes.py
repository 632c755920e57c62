"""Versions of a published corpus: every publishing that changed it has one, and a line that says what changed.

The record of them stands in collection.json, so that it changes with what it describes; CHANGELOG.md is drawn from it.
A version is that of the build with the number of earlier publishings of it added to its last part: a build of version
0.1.0 is published as 0.1.0, and grown twice as 0.1.1 and 0.1.2. Nothing here depends on a clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MEMBER = "deepsentinel:changes"


@dataclass(frozen=True, slots=True)
class State:
    """All that makes one publishing differ from another."""

    build_version: str
    fingerprint: str
    """Of all shards."""
    items_version: int
    """Of the software that made items and pictures."""
    split_version: str | None
    patches: int
    shards: int


def history_of(published: Mapping[str, Any] | None, now: State) -> list[dict[str, Any]]:
    """The record with the present state as its last entry; the record as it is where nothing changed.

    Args:
        published: the collection as it stands, None where there is none.
    """
    earlier: list[dict[str, Any]] = list((published or {}).get(MEMBER, ()))
    stated = asdict(now)
    if earlier and {name: earlier[-1].get(name) for name in stated} == stated:
        return earlier
    count = sum(entry["build_version"] == now.build_version for entry in earlier)
    text = _describe(earlier[-1] if earlier else None, now)
    return [*earlier, {"version": _raise(now.build_version, count), "text": text, **stated}]


def changelog(title: str, history: Sequence[Mapping[str, Any]]) -> str:
    """The record as a Markdown page, newest first."""
    entries = [f"## {entry['version']}\n\n{entry['text']}\n" for entry in reversed(history)]
    return "\n".join([f"# {title}: changes\n", *entries])


def _describe(before: Mapping[str, Any] | None, now: State) -> str:
    size = f"{now.patches:,} patches in {now.shards:,} shard{'s' if now.shards > 1 else ''}"
    if before is None:
        return f"First published: {size}."
    told = []
    if now.patches > before["patches"]:
        told.append(f"{now.patches - before['patches']:,} patches more")
    elif now.fingerprint != before["fingerprint"]:
        told.append("shards were made again")
    if now.split_version != before["split_version"]:
        told.append(f"patches were split by the rules {now.split_version}")
    if now.items_version != before["items_version"]:
        told.append("items and pictures were made anew by newer software")
    if now.build_version != before["build_version"]:
        told.append(f"the build's version went from {before['build_version']} to {now.build_version}")
    text = "; ".join(told) or "described anew"
    return f"{text[0].upper()}{text[1:]}: {size}."


def _raise(version: str, steps: int) -> str:
    head, dot, last = version.rpartition(".")
    if last.isdigit():
        return f"{head}{dot}{int(last) + steps}"
    return f"{version}.{steps}" if steps else version
