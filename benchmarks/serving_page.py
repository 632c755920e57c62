"""The section "Measured" of docs/serving.md, made from the record of `benchmarks.serving`."""

from collections.abc import Iterator, Mapping
from typing import Any


def section(record: Mapping[str, Any]) -> str:
    """The section as Markdown."""
    sizes = [f"ours, {int(count):,} items" for count in record["items"]]
    peers = [f"{name}, {found['items']:,} items" for name, found in record["peers"].items()]
    columns = [*record["items"].values(), *record["peers"].values()]
    kinds = list(next(iter(record["items"].values()))["queries"])
    rows = [
        _row("", [*sizes, *peers]),
        "|---" * (1 + len(columns)) + "|",
        *(_row(kind, [_latency(found, kind) for found in columns]) for kind in kinds),
        _row("requests/s, 4 clients", [str(found.get("requests_per_second", {}).get("4", "-")) for found in columns]),
        _row("seconds to index or load", [_load(found) for found in columns]),
    ]
    return "\n".join([*_introduction(record), *rows, "", *_wrong(record), *_index(record)]) + "\n"


def _introduction(record: Mapping[str, Any]) -> list[str]:
    cores, limit = record["machine"]["cores"], record["options"]["limit"]
    return [
        f"`{record['command']}` on {record['date']}, {cores} cores shared with other work; the numbers stand in",
        f"`benchmarks/results/serving.json`. Milliseconds a page of {limit} items over HTTP, median / 95th percentile,",
        "with other places, times and values every time. Every answer is compared with the rows of the geoparquet:",
        "where some are wrong, the share of right ones stands in brackets.",
        "",
    ]


def _row(title: str, cells: list[str]) -> str:
    return f"| {' | '.join([title, *cells])} |"


def _latency(found: Mapping[str, Any], kind: str) -> str:
    asked = found.get("queries", {}).get(kind, {"error": "does not run"})
    if "error" in asked:
        return "refused" if "queries" in found else "-"
    time = f"{asked['p50_ms']:.0f} / {asked['p95_ms']:.0f}"
    return time if "wrong" not in asked else f"{time} (**right: {asked['right']}**)"


def _load(found: Mapping[str, Any]) -> str:
    seconds = found["index"]["seconds"] if "index" in found else found.get("load_s")
    return "-" if seconds is None else f"{seconds:.0f}"


def _wrong(record: Mapping[str, Any]) -> Iterator[str]:
    """Of each peer, what is wrong with its answers, and what it refuses."""
    for name, found in record["peers"].items():
        faults: dict[str, list[str]] = {}
        for kind, asked in found.get("queries", {}).items():
            for fault in asked.get("wrong", [f"answers {asked['error']}"] if "error" in asked else []):
                faults.setdefault(fault, []).append(kind)
        said = [f"{fault.replace('|', '/')}: {'; '.join(kinds)}" for fault, kinds in faults.items()]
        if "error" in found:
            said = [f"does not run: {found['error']}"]
        yield from (f"- `{name}` {one}" for one in said)


def _index(record: Mapping[str, Any]) -> Iterator[str]:
    for count, found in record["items"].items():
        built, again = found["index"], found.get("published_again")
        line = (
            f"- {int(count):,} items: the index has {built['mb']:,} MB and is built in {built['seconds']:.0f} s "
            f"({built['cpu_seconds']:.0f} s of CPU) and {built['peak_mb']:,} MB of memory"
        )
        if again is not None:
            line += (
                f"; published again with {again['new']:,} new, {again['changed']:,} changed and {again['gone']:,} gone "
                f"it takes {again['seconds']:.0f} s ({again['cpu_seconds']:.0f} s of CPU)"
            )
        yield f"{line}."
