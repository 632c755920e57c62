"""The folder of a build: one build at a time, always of the same plan and options, without leftovers."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from catalog.errors import OutputExistsError


@contextlib.contextmanager
def build_folder(out: Path, record: Mapping[str, Any]) -> Iterator[None]:
    """Make or reopen a corpus folder, keep other builds out of it, and clear what a killed worker left.

    Args:
        record: what `corpus.json` says; decides whether an existing folder is a part of the same build.

    Raises:
        OutputExistsError: the folder holds something else, another build, or a build that is running.
    """
    text = json.dumps(record, indent=1, sort_keys=True)
    path = out / "corpus.json"
    if not path.exists() and out.exists() and any(out.iterdir()):
        raise OutputExistsError(f"{out} holds other files; choose an empty --out")
    if path.exists() and path.read_text() != text:
        raise OutputExistsError(
            f"{out} holds a build of another plan or with other options; choose another --out or remove it"
        )
    (out / "shards").mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputExistsError(f"another build is writing to {out}; wait for it or stop it") from error
        path.write_text(text)
        for leftover in (out / "shards").glob(".*.zarr.*"):
            shutil.rmtree(leftover)
        yield
