"""What the programs of this package share."""

import logging
from pathlib import Path


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
        # The many small programs that initialise a model take longer than the one that trains it.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
