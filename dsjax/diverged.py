"""What is left of a run whose numbers are no longer finite: which patches its last steps saw, and their metrics."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from dsjax.errors import DivergedError


@contextmanager
def dumped_where_diverged(run: Path, patches_of: Callable[[int], list[str]]) -> Iterator[None]:
    """Write diverged-STEP.json into the run folder where a DivergedError passes, and name the file in the error.

    Args:
        patches_of: ids of the patches that a step trained on.
    """
    try:
        yield
    except DivergedError as error:
        if not error.lines:
            raise
        path = run / f"diverged-{error.lines[-1]['step']}.json"
        if jax.process_index() == 0:
            lines = [{name: _plain(value) for name, value in line.items()} for line in error.lines]
            steps = [line | {"patches": patches_of(line["step"])} for line in lines]
            path.write_text(json.dumps({"steps": steps}, indent=1) + "\n")
        raise DivergedError(f"{error}; {path} lists the patches and metrics of each of them", error.lines) from error


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they are written as words."""
    return value if math.isfinite(value) else str(value)
