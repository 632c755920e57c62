"""A trace of a few steps: where time goes on host and devices."""

from pathlib import Path
from types import TracebackType

import jax

# The first steps compile and fill queues; five show the rhythm of the rest and stay readable.
_AFTER, _STEPS = 10, 5


class Profiler:
    """Traces steps 11 to 15 of `steps` into `folder`, or the last five where there are fewer; nothing where it is None.

    Open `plugins/profile/*/perfetto_trace.json.gz` in the Perfetto viewer, or the folder with XProf.
    """

    def __init__(self, folder: Path | None, steps: range) -> None:
        self._folder, self._start = folder, steps.start + max(1, min(_AFTER, len(steps) - _STEPS))
        self._tracing = False

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def on_step(self, step: int) -> None:
        """To be told of every step that was sent to the devices."""
        if self._folder is not None and step == self._start:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._tracing = True
        elif step == self._start + _STEPS:
            self._stop()

    def _stop(self) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
