"""Search a published corpus, print what is found, and save it as a subset to train on.

python -m catalog.search CORPUS --bbox 5 50 15 55 --datetime 2021-05/2021-08 --cloud-max 20 --has-class 311
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from catalog.errors import CorpusError
from catalog.program import main
from catalog.selection import COLUMNS, Criteria, fitting_alone, select

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

EXIT_NOTHING = 1
_MAX_SHOWN = 20
_ORBITS = {"ascending": "asc", "descending": "desc"}
_COMMON = 4  # split names and classes in the summary line


@dataclasses.dataclass(frozen=True)
class Search:
    """Search a published corpus; the exit status is 1 where nothing is found.

    For example:
        search catalog/labelled --bbox 5 50 15 55 --datetime 2021-05/2021-08 --cloud-max 20 --has-class 311
        search catalog/labelled --split train --season summer --orbit ascending --to summer.parquet
        search https://host/catalog/labelled --tile 33UUU             # or s3://, gs://, az://
        pretrain demo --corpus summer.parquet --out runs/summer      # train on what was found
    """

    corpus: Annotated[str, tyro.conf.Positional]
    """Folder or URL of a published collection."""
    where: tyro.conf.OmitArgPrefixes[Criteria] = dataclasses.field(default_factory=Criteria)
    limit: int | None = None
    """Keep the first so many, in the corpus' order."""
    to: Path | None = None
    """Write the patches that are found as a subset, a parquet file that training takes as its corpus."""


def search(corpus: str | Path, criteria: Criteria, limit: int | None = None) -> "pa.Table":
    """The rows of a corpus' index that fit, in the order of shards and rows.

    Raises:
        CorpusError: there is no corpus, or the limit is not positive.
        StoreError: its server does not answer.
    """
    from catalog.published import Published

    return _first(select(Published(corpus).read_index(COLUMNS), criteria), limit)


def _first(found: "pa.Table", limit: int | None) -> "pa.Table":
    if limit is not None and limit < 1:
        raise CorpusError(f"a limit of {limit} patches finds nothing; give 1 or more")
    return found if limit is None else found.slice(0, limit)


def save(found: "pa.Table", corpus: str | Path, path: Path, query: str = "") -> None:
    """Write what a search found as a subset.

    Args:
        corpus: the collection that was searched.
        query: what was asked, for people.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from catalog.published import Published
    from catalog.subset import Source, write_subset

    published = Published(corpus)
    href = published.href
    if not published.store.is_remote:
        href = Path(os.path.relpath(Path(href).resolve(), path.parent.resolve())).as_posix()
    source = Source(href, published.collection, published.version, published.fingerprint, query)
    rows = pa.table(
        {
            "id": found["id"],
            "shard": found["deepsentinel:shard"],
            "index": found["deepsentinel:index"],
            "split": found["deepsentinel:split"],
            "datetime": pc.strftime(found["datetime"], "%Y-%m-%dT%H:%M:%SZ"),
            "cloud": found["eo:cloud_cover"],
            **{edge: found[edge] for edge in ("west", "south", "east", "north")},
        }
    )
    write_subset(path, rows, source)


def run(options: Search) -> None:
    """Search, print a table, and save the subset."""
    from rich.console import Console

    from catalog.published import Published

    if options.to is not None and options.to.suffix != ".parquet":
        raise CorpusError(f"{options.to} would hold a parquet file, which is how subsets are known; end it in .parquet")
    index = Published(options.corpus).read_index(COLUMNS)
    found = _first(select(index, options.where), options.limit)
    console = Console()
    if found.num_rows:
        console.print(_table(found.slice(0, _MAX_SHOWN)))
    summary = _summary(found) if found.num_rows else _nothing(index, options.where)
    console.print(summary, soft_wrap=True, highlight=False, markup=False)
    if options.to is not None and found.num_rows:
        save(found, options.corpus, options.to, _query(options))
        console.print(f"wrote {options.to}", soft_wrap=True, highlight=False, markup=False)
    if not found.num_rows:
        raise SystemExit(EXIT_NOTHING)


def _table(found: "pa.Table") -> "Table":
    from rich.table import Column, Table

    whole = (Column(name, no_wrap=True) for name in ("id", "optical image"))
    classes_in_full = Column("classes", overflow="fold")
    table = Table(*whole, "cloud %", "gap, h", "orbit", "split", classes_in_full, box=None, pad_edge=False)
    for row in found.to_pylist():
        classes = [*map(str, row["deepsentinel:corine_classes"] or ()), *(row["deepsentinel:osm_classes"] or ())]
        table.add_row(
            row["id"], f"{row['datetime']:%Y-%m-%d %H:%M}", f"{row['eo:cloud_cover']:.0f}",
            f"{row['deepsentinel:gap_hours']:+.1f}", _ORBITS.get(row["deepsentinel:s1_orbit_state"], ""),
            row["deepsentinel:split"] or "", _few(classes),
        )  # fmt: skip
    return table


def _summary(found: "pa.Table") -> str:
    splits = Counter(name or "unstated" for name in found["deepsentinel:split"].to_pylist())
    shown = f" (the first {_MAX_SHOWN} are shown)" if found.num_rows > _MAX_SHOWN else ""
    parts = ", ".join(f"{count:,} {name}" for name, count in sorted(splits.items()))
    return f"{found.num_rows:,} patches{shown}; by split: {parts}"


def _nothing(index: "pa.Table", criteria: Criteria) -> str:
    """Which criterion to widen."""
    alone = ", ".join(f"{name}: {count:,}" for name, count in fitting_alone(index, criteria).items())
    return f"no patch of {index.num_rows:,} fits all; each alone fits: {alone}"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _COMMON
    return " ".join(names[:_COMMON]) + (f" +{more}" if more > 0 else "")


def _query(options: Search) -> str:
    """The criteria that were given, as text."""
    asked = {field.name: getattr(options.where, field.name) for field in dataclasses.fields(options.where)}
    asked["limit"] = options.limit
    return " ".join(f"{name}={value}" for name, value in asked.items() if value not in (None, ()))


if __name__ == "__main__":
    main(Search, run)
