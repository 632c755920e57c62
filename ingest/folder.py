"""The folder of a build: one build at a time, always of the same plan and options, without leftovers."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from catalog.errors import OutputExistsError
from ingest.errors import WriteError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@contextlib.contextmanager
def build_folder(out: Path, record: Mapping[str, Any]) -> Iterator[None]:
    """Make or reopen a corpus folder, keep other builds out of it, and clear what a killed worker left.

    Args:
        record: what `corpus.json` says; decides whether an existing folder is a part of the same build.

    Raises:
        OutputExistsError: the folder holds something else, another build, or a build that is running.
    """
    text = json.dumps(record, indent=1, sort_keys=True)
    with disk_errors(out), _locked(out):
        path = out / "corpus.json"
        if path.exists():
            if path.read_text() != text:
                raise OutputExistsError(
                    f"{out} holds a build of another plan or with other options; choose another --out or remove it"
                )
        elif any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise OutputExistsError(f"{out} holds other files; choose an empty --out")
        _clear_leftovers(out)
        (aside := out / ".corpus.json.part").write_text(text)
        aside.replace(path)  # at once, so that a build killed here can be run again
        (out / "shards").mkdir(exist_ok=True)
        yield


@contextlib.contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn the errors of a full or failing disk into one that names the folder and the cure.

    Raises:
        WriteError: the disk is full, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise WriteError(
            f"cannot write to {out}: {os.strerror(error.errno)}; make room, then run the same command again: "
            "finished shards are kept"
        ) from error


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputExistsError(f"another build is writing to {out}; wait for it or stop it") from error
        yield


def _clear_leftovers(out: Path) -> None:
    """Remove what killed workers left half-written."""
    for leftover in (out / "shards").glob(".*.zarr.*"):
        shutil.rmtree(leftover)
    for leftover in (out / "ledger").glob(".*.part"):
        leftover.unlink()
