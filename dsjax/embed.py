"""Embeddings of the patches of a corpus as a table: `python -m dsjax.embed RUN --corpus HREF --to TABLE.parquet`."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from catalog.errors import OutputExistsError
from catalog.program import program_name
from dsjax.errors import ConfigError
from dsjax.program import reported_errors, start_logging

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from catalog.corpus import Corpus
    from dsjax.data import Batch

_log = logging.getLogger("dsjax.embed")  # also where this module is the program

METADATA_KEY = b"deepsentinel:embeddings"


@dataclass(frozen=True)
class Embed:
    """Embed every patch of a corpus with the encoder of a run, cut into a grid of crops: a GeoParquet table, one row a
    crop, that geopandas, DuckDB and QGIS read and `publish-model --embeddings` publishes.

    For example:
        embed runs/first --corpus catalog/labelled --to first.parquet
        embed runs/first --corpus forests.parquet --sensors sentinel-1 --to radar.parquet
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of a pre-training."""
    corpus: str
    """Collection to embed: its folder or URL (https, s3, gs, az), or a subset that a search wrote."""
    to: Path
    """Table to write (.parquet)."""
    sensors: tuple[Literal["sentinel-1", "sentinel-2"], ...] = ("sentinel-1", "sentinel-2")
    """What the encoder may see. A crop that none of them measured has a vector of what was learned for missing sensors:
    look at the columns s1_valid_share and s2_valid_share."""
    crop_px: int | None = None
    """Side of a crop, 10 m pixels; that of pre-training where not given."""


def run(config: Embed) -> int:
    """Write the table, which appears whole or not at all; its number of rows.

    Memory: a few batches of 16 patches, whatever the corpus holds.

    Raises:
        DeepSentinelError: no run, no corpus, crops that do not fit it, or there is such a table already.
    """
    import pyarrow.parquet as pq
    from rich.console import Console
    from rich.progress import track

    from catalog.corpus import Corpus
    from dsjax.checkpoints import load_encoder
    from dsjax.contract import check_pixels
    from dsjax.crops import PATCHES_AT_ONCE, crops_a_side, embedding_function, mapped_batches

    _check_place(config.to)
    trained = load_encoder(config.run)
    corpus = Corpus.open(config.corpus, columns=("id", "datetime", "proj:code", "proj:bbox"))
    check_pixels(corpus)
    crop_px = config.crop_px or trained.config.crop_px
    side = crops_a_side(corpus, crop_px)
    function = embedding_function(trained.encoder, trained.normalisation, config.sensors)
    schema = _schema(trained.encoder.dim, _origin(config, corpus, crop_px))
    config.to.parent.mkdir(parents=True, exist_ok=True)
    aside, done = config.to.with_name(f".{config.to.name}.{os.getpid()}"), 0
    batches = track(
        mapped_batches(function, corpus, crop_px), "embed", total=-(-len(corpus) // PATCHES_AT_ONCE),
        console=Console(file=sys.stderr), disable=not sys.stderr.isatty(),
    )  # fmt: skip
    try:
        with pq.ParquetWriter(aside, schema, compression="zstd", write_page_checksum=True) as writer:
            for batch, vectors in batches:
                rows = np.arange(done, min(done + len(vectors) // side**2, len(corpus)))
                writer.write_table(_table(schema, corpus, rows, crop_px, batch, vectors))
                done += len(rows)
        aside.replace(config.to)
    finally:
        aside.unlink(missing_ok=True)
    return done * side**2


def _check_place(to: Path) -> None:
    if to.suffix != ".parquet":
        raise ConfigError(f"{to} would hold a parquet file; end it in .parquet")
    if to.exists():
        raise OutputExistsError(f"{to} is there already; remove it or choose another --to")


def _origin(config: Embed, corpus: "Corpus", crop_px: int) -> dict[str, Any]:
    """What made a table, for its metadata."""
    from dsjax.runs import code_versions, read_corpus

    return {
        "run": str(config.run), "trained_on": read_corpus(config.run).fingerprint, "corpus": corpus.href,
        "version": corpus.version, "fingerprint": corpus.fingerprint, "sensors": list(config.sensors),
        "crop_px": crop_px, "code": code_versions(),
    }  # fmt: skip


def _schema(dim: int, origin: dict[str, Any]) -> "pa.Schema":
    import pyarrow as pa

    from catalog.geoparquet import GEO

    columns = {
        "id": pa.string(), "crop_row": pa.int16(), "crop_column": pa.int16(), "geometry": pa.binary(),
        "datetime": pa.timestamp("us", tz="UTC"), "s1_valid_share": pa.float32(), "s2_valid_share": pa.float32(),
        "embedding": pa.list_(pa.float32(), dim),
    }  # fmt: skip
    return pa.schema(columns, {b"geo": GEO.encode(), METADATA_KEY: json.dumps(origin).encode()})


def _table(
    schema: "pa.Schema",
    corpus: "Corpus",
    rows: "NDArray[np.intp]",
    crop_px: int,
    batch: "Batch[NDArray[Any]]",
    vectors: "NDArray[np.float32]",
) -> "pa.Table":
    """The crops of some patches; the batch may hold more of the last one."""
    import pyarrow as pa

    from catalog.bands import S1_NODATA

    side = corpus.side_px // crop_px
    count = len(rows) * side**2
    patches = corpus.table.take(pa.array(rows.repeat(side**2)))
    crop_rows, crop_columns = (np.tile(place.ravel(), len(rows)) for place in np.indices((side, side)))
    columns = {
        "id": patches["id"],
        "crop_row": crop_rows.astype(np.int16),
        "crop_column": crop_columns.astype(np.int16),
        "geometry": _outlines(patches, crop_rows, crop_columns, crop_px),
        "datetime": patches["datetime"].cast(schema.field("datetime").type),
        "s1_valid_share": _valid_share(batch.s1[:count], S1_NODATA),
        "s2_valid_share": _valid_share(batch.s2_10m[:count], 0),
        "embedding": pa.FixedSizeListArray.from_arrays(vectors[:count].astype(np.float32).ravel(), vectors.shape[1]),
    }
    return pa.table(columns, schema)


def _valid_share(stored: "NDArray[Any]", nodata: int) -> "NDArray[np.float32]":
    shares: NDArray[np.float32] = (stored != nodata).all(axis=1).mean(axis=(1, 2), dtype=np.float32)
    return shares


def _outlines(
    patches: "pa.Table", crop_rows: "NDArray[np.intp]", crop_columns: "NDArray[np.intp]", crop_px: int
) -> list[bytes]:
    """WKB of every crop, cut at the antimeridian."""
    import shapely
    from shapely.geometry import shape

    from catalog.grid import GSD_M, PatchGrid
    from catalog.items import geometry_of

    side_m, found = crop_px * GSD_M, []
    places = zip(
        patches["proj:code"].to_pylist(), patches["proj:bbox"].to_pylist(), crop_rows, crop_columns, strict=True
    )
    for code, (west_m, _, _, north_m), row, column in places:
        west_m, north_m = round(west_m + column * side_m), round(north_m - row * side_m)
        grid = PatchGrid(int(code.removeprefix("EPSG:")), west_m, north_m, crop_px)
        found.append(shapely.to_wkb(shape(geometry_of(grid)[0])))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, then run."""
    with reported_errors("nothing was written; run the same command again"):
        config = tyro.cli(Embed, prog=program_name(), args=arguments)
        start_logging()
        _log.info("%d embeddings are in %s", run(config), config.to)


if __name__ == "__main__":
    main()
