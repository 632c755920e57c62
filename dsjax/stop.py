"""How a run is asked to end early: by a signal, and in a run of several processes by a signal to any of them."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.experimental import multihost_utils

_log = logging.getLogger(__name__)


class StopRequest:
    """Set when the process was asked to end."""

    signum: int | None = None

    def agreed(self, step: int) -> bool:
        """Whether training ends after `step`: in every process after the same one. Call once a step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            _log.warning("SIGTERM reached a process of this run: all save after step %d", step)
            self.signum = signal.SIGTERM
            return True
        return self.signum is not None and jax.process_count() == 1


def end_at_once_on_ctrl_c() -> None:
    """Of a run of several processes: Python's handler would wait for a step that waits for the other processes."""
    if jax.process_count() > 1 and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request to stop after the current step; a second one ends at once.

    Of several processes none may stop alone, or the others would wait for it: there JAX's coordination service takes
    SIGTERM, tells every process, and names the step they all can still stop at. Ctrl-C ends such a run at once.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield request
        return
    caught = (signal.SIGTERM, signal.SIGINT)
    before = {signum: signal.getsignal(signum) for signum in caught}

    def handle(signum: int, _frame: Any) -> None:
        request.signum = signum
        _log.warning("%s: saving after this step", signal.Signals(signum).name)
        give_back()

    def give_back() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    for signum in caught:
        signal.signal(signum, handle)
    try:
        yield request
    finally:
        give_back()
