"""What the programs of this package share: how a user's error ends them, and where compiled code is kept."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.errors import DeepSentinelError

USER_ERROR = 2


@contextmanager
def reported_errors() -> Iterator[None]:
    """End the process with the message alone, status 2, where the user can cure the error."""
    try:
        yield
    except DeepSentinelError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(USER_ERROR)


def start_logging() -> None:
    """Warnings of libraries, and what our packages report."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    for package in ("catalog", "dsjax"):
        logging.getLogger(package).setLevel(logging.INFO)


def use_compilation_cache(folder: Path | None) -> None:
    """Keep programs that XLA compiled in `folder`, so that the next run starts at once."""
    import jax

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
