"""What the programs of this package share."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from catalog import program

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def reported_errors(interrupted: str) -> Iterator[None]:
    """As `catalog.program.reported_errors`, but Ctrl-C ends the process there and then.

    Python's way out waits for XLA's threads, and those that still compile crash in it.
    """
    try:
        with program.reported_errors(interrupted):
            yield
    except SystemExit as ended:
        if ended.code == program.EXIT_INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(program.EXIT_INTERRUPTED)
        raise


def start_logging() -> None:
    """Warnings of libraries, and what our packages report."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    for package in ("catalog", "dsjax"):
        logging.getLogger(package).setLevel(logging.INFO)


def use_compilation_cache(folder: Path | None) -> None:
    """Keep programs that XLA compiled in `folder`, so that the next run starts at once."""
    import jax

    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _log.warning("compiled programs are not kept: %s; give another --compilation-cache, or None", error)
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # The many small programs that initialise a model take longer than the one that trains it.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
