"""How every program of this project starts, reports and ends."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import tyro

from catalog.errors import DeepSentinelError

_Options = TypeVar("_Options")
_COMMAND = "deepsentinel"
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(options: type[_Options], run: Callable[[_Options], object]) -> None:
    """Parse the command line into `options`, then run; errors as `reported_errors` says."""
    parsed = tyro.cli(options, prog=program_name())
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of every retry; what fails in the end is an error
    with reported_errors():
        run(parsed)


def program_name() -> str:
    """What the user typed to start this program: `deepsentinel WORD`, or `python -m package.program`."""
    words = [Path(word).stem for word in sys.orig_argv]
    if _COMMAND in words[:-1]:
        return f"{_COMMAND} {words[words.index(_COMMAND) + 1]}"
    spec = sys.modules["__main__"].__spec__
    return sys.argv[0] if spec is None else f"python -m {spec.name.removesuffix('.__main__')}"


@contextlib.contextmanager
def reported_errors() -> Iterator[None]:
    """End the process with one line on stderr for errors a user can cure, and quietly on Ctrl-C.

    Exit status 2 for errors, 130 when interrupted; anything else is a bug and keeps its traceback.
    """
    try:
        yield
    except DeepSentinelError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(EXIT_ERROR) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on\n")
        raise SystemExit(EXIT_INTERRUPTED) from None
