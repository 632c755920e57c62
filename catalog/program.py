"""How every program of this project starts, reports and ends."""

import contextlib
import errno
import importlib.metadata
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import tyro

from catalog.errors import DeepSentinelError

_Options = TypeVar("_Options")
_COMMAND = "deepsentinel"
_DISTRIBUTIONS = {
    "odc": "odc-stac", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn", "stac_fastapi": "stac-fastapi-api",
}  # fmt: skip
"""What installs a module of another name."""
_OF_THE_DISK = frozenset(
    {errno.EACCES, errno.EEXIST, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EDQUOT}
)
"""Errors that are the user's to cure, wherever they arise."""
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(options: type[_Options], run: Callable[[_Options], object]) -> None:
    """Parse the command line into `options`, then run; errors as `reported_errors` says."""
    with reported_errors():
        parsed = tyro.cli(options, prog=program_name())
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of every retry; what fails at last is an error
        run(parsed)


def program_name() -> str:
    """What the user typed to start this program: `deepsentinel WORD`, or `python -m package.program`."""
    words = [Path(word).stem for word in sys.orig_argv]
    if _COMMAND in words[:-1]:
        return f"{_COMMAND} {words[words.index(_COMMAND) + 1]}"
    spec = sys.modules["__main__"].__spec__
    return sys.argv[0] if spec is None else f"python -m {spec.name.removesuffix('.__main__')}"


@contextlib.contextmanager
def reported_errors(interrupted: str = "run the same command again to go on") -> Iterator[None]:
    """End the process with one line on stderr for errors a user can cure, and quietly on Ctrl-C.

    Exit status 2 for errors, 130 when interrupted; anything else is a bug and keeps its traceback.

    Args:
        interrupted: what to do after Ctrl-C.
    """
    try:
        yield
    except DeepSentinelError as error:
        raise _end(f"error: {error}", EXIT_ERROR) from None
    except KeyboardInterrupt:
        raise _end(f"interrupted; {interrupted}", EXIT_INTERRUPTED) from None
    except ModuleNotFoundError as error:
        if not (extras := _extras_of(error.name or "")):
            raise
        raise _end(
            f"error: {error.name} is not installed; pip install 'deepsentinel[{extras[0]}]'", EXIT_ERROR
        ) from None
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        place = error.filename or "the disk"
        raise _end(
            f"error: {place}: {error.strerror}; give a place with room that you may read and write", EXIT_ERROR
        ) from None


def _end(message: str, status: int) -> SystemExit:
    sys.stderr.write(f"{message}\n")
    return SystemExit(status)


def _extras_of(module: str) -> list[str]:
    """Extras of this project that install a module, without the one that installs everything."""
    name = _DISTRIBUTIONS.get(module.partition(".")[0], module.partition(".")[0]).lower().replace("_", "-")
    found = []
    for line in importlib.metadata.requires(_COMMAND) or ():
        requirement, _, condition = line.partition(";")
        distribution = re.match(r"[\w.-]+", requirement.strip())
        if distribution and distribution[0].lower() == name and (extra := re.search(r"extra == .(\w+)", condition)):
            found.append(extra[1])
    return [extra for extra in found if extra != "all"]
