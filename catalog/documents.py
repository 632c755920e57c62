"""Documents of a corpus: read with errors that name the file and the cure, and replaced in one step."""

import contextlib
import gc
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from catalog.errors import CorpusError

_OBJECTS = 200_000  # more than the items hold that are in work at one time, some 1,500 each


def read_document(
    path: Path, cure: str, members: Iterable[str] = (), start: int = 0, nbytes: int = -1
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        cure: what to do about a document that cannot be used; ends the error.
        members: names that it must have.
        start: where in the file it begins.
        nbytes: how long it is; to the end of the file where -1.

    Raises:
        CorpusError: the file is missing, is no JSON object, or lacks a member.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            document = orjson.loads(stream.read(nbytes))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read ({error}); {cure}") from error
    if not isinstance(document, dict):
        raise CorpusError(f"{path} is no JSON object; {cure}")
    if missing := [name for name in members if name not in document]:
        raise CorpusError(f"{path} lacks {', '.join(missing)}; {cure}")
    return document


@contextlib.contextmanager
def rarely_collected() -> Iterator[None]:
    """Let Python's garbage collector wait while many documents are made.

    They hold no cycles, so there is nothing to find; by default it looks through each of them several times.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def replace_file(path: Path, content: str | bytes, *, unread: bool = False) -> None:
    """Write a file in one step for its readers: they see the old one or the new one.

    Args:
        unread: nothing leads there yet, so that the old one may go first. A file system that flushes what replaces a
            file (ext4 does) then need not, which saves milliseconds a file.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    if unread:
        path.unlink(missing_ok=True)
    aside.replace(path)
