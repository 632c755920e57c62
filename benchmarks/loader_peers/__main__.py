"""Write a format or serve a pipeline: `python -m benchmarks.loader_peers write|serve NAME ROOT ...`."""

import sys
from pathlib import Path

from benchmarks.loader_peers import formats, readers, torch_loaders, worker

READERS = ("zarr-python", "zarrs", "tensorstore", "icechunk-reader", "icechunk-shards-reader")


def main() -> None:
    """`write NAME PIXELS OUT`, or `serve NAME ROOT PATCHES`."""
    word, name, *rest = sys.argv[1:]
    if word == "write":
        out = Path(rest[1])
        out.mkdir(parents=True)
        formats.WRITERS[name](formats.Source(Path(rest[0])), out)
    else:
        module = readers if name in READERS else torch_loaders
        worker.serve(module.epoch(name, Path(rest[0]), int(rest[1])))


if __name__ == "__main__":
    main()
