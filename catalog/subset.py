"""A subset: the patches that a search found, as one small parquet file that stands for a corpus.

    search CORPUS ... --to subset.parquet      writes it
    Corpus.open("subset.parquet")              is the corpus of those patches, in the file's order

Columns, one row a patch, in the order of shard and row:

    id        string   the item's id
    shard     int64    number of the shard
    index     int64    row in the shard
    split     string   train, test, none; null in a corpus without a split
    datetime  string   RFC 3339, of the optical image
    cloud     float64  percent of the patch

Others may follow; readers ignore what they do not know. The file's metadata holds, under `deepsentinel:corpus`, one
JSON object:

    href         the corpus' collection folder: an absolute path or URL, or a path relative to the subset's own folder
                 (POSIX separators)
    collection   id of the collection
    version      its version when the subset was written
    fingerprint  and its fingerprint: a corpus that has grown since has another, and keeps every row of the subset
    query        what was asked, as text for people

Statistics of a subset are those of every patch of the collection whose split occurs in it, as of any other selection.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import CorpusError
from catalog.index import DAMAGE

METADATA_KEY = b"deepsentinel:corpus"
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "shard": pa.int64(),
        "index": pa.int64(),
        "split": pa.string(),
        "datetime": pa.string(),
        "cloud": pa.float64(),
    }
)


@dataclass(frozen=True, slots=True)
class Source:
    """The corpus that a subset is of."""

    href: str
    """As the file states it; `locate` gives the address to open."""
    collection: str
    version: str
    fingerprint: str
    query: str = ""

    def locate(self, subset: Path) -> str:
        """Address of the collection's folder.

        Args:
            subset: the file that states this source.
        """
        if "://" in self.href or Path(self.href).is_absolute():
            return self.href
        return os.path.normpath(subset.parent.resolve() / self.href)


def write_subset(path: Path, rows: pa.Table, source: Source) -> None:
    """Write a subset; the file appears whole or not at all.

    Args:
        rows: with the columns of `SCHEMA` and any others.
        source: with the corpus' href, absolute or relative to the folder of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = [rows.schema.field(name) for name in rows.column_names if name not in SCHEMA.names]
    kept = rows.select([*SCHEMA.names, *(field.name for field in fields)]).cast(pa.schema([*SCHEMA, *fields]))
    stated = {METADATA_KEY: json.dumps(asdict(source)).encode()}
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(kept.replace_schema_metadata(stated), aside, compression="zstd", write_page_checksum=True)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_subset(path: Path) -> tuple[pa.Table, Source]:
    """The rows of a subset, and the corpus that it is of.

    Raises:
        CorpusError: there is no such file, or it is no subset.
    """
    cure = "write one with the program search and its option --to"
    if not path.is_file():
        raise CorpusError(f"there is no subset {path}; {cure}")
    if path.name == "items.parquet":
        raise CorpusError(f"{path} is the index of a corpus; give the folder that holds it")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        stated = json.loads((table.schema.metadata or {})[METADATA_KEY])
        source = Source(**{name: stated[name] for name in Source.__slots__ if name in stated})
        missing = [name for name in SCHEMA.names[:4] if name not in table.column_names]
    except (KeyError, TypeError, *DAMAGE) as error:
        raise CorpusError(f"{path} is no subset of a corpus ({type(error).__name__}: {error}); {cure}") from error
    if missing:
        raise CorpusError(f"{path} lacks the columns {', '.join(missing)}; {cure}")
    return table, source
