"""Who fills shards: this process, processes or threads of this machine, or a Dask cluster, all behind one interface.

The interface is `concurrent.futures.Executor`, which Dask speaks too. Processes of this machine need no more than
the standard library and are the default; Dask is for several machines. Whoever works, a shard is one task, at most
two tasks a worker are handed out at a time, and the bytes are the same.
"""

import contextlib
import importlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures import ThreadPoolExecutor as Threads
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from catalog.errors import DeepSentinelError
from ingest.errors import PlanError, WorkerLostError

_Job = TypeVar("_Job")
_Done = TypeVar("_Done")
_Given = ParamSpec("_Given")

LOCAL, THREADS = "local", "threads"
_DASK = ("tcp://", "tls://", "ucx://")
_DASK_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Crew:
    """Workers at hand."""

    executor: Executor
    at_once: int
    """How many tasks to hand out before the first is done."""

    def run(self, work: Callable[[_Job], _Done], jobs: Iterable[_Job]) -> Iterator[_Done | DeepSentinelError]:
        """Do jobs; yields results, and expected errors, as they come.

        Raises:
            WorkerLostError: a worker process died.
        """
        rest = iter(jobs)
        running = {self._submit(work, job) for job in itertools.islice(rest, self.at_once)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield _outcome(future)
                running |= {self._submit(work, job) for job in itertools.islice(rest, 1)}

    def _submit(self, work: Callable[[_Job], _Done], job: _Job) -> "Future[_Done]":
        try:
            return self.executor.submit(work, job)
        except BrokenExecutor as error:  # a worker died since the last outcome
            raise _lost(error) from error


def hire(scheduler: str, workers: int) -> contextlib.AbstractContextManager[Crew]:
    """Workers for the length of a `with` statement.

    Args:
        scheduler: "local" for processes, "threads", or the address of a Dask scheduler such as "tcp://host:8786".
        workers: how many; a Dask cluster has as many as it has.

    Raises:
        PlanError: no such scheduler, or it does not answer.
    """
    if scheduler.startswith(_DASK):
        return _dask(scheduler)
    if scheduler not in (LOCAL, THREADS):
        raise PlanError(
            f"unknown scheduler {scheduler!r}: give {LOCAL}, {THREADS} or an address such as tcp://host:8786"
        )
    if workers == 1:
        return contextlib.nullcontext(Crew(_Here(), 1))
    return _processes(workers) if scheduler == LOCAL else _threads(workers)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, so that it cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Here(Executor):
    """Does each task at once, in the calling thread."""

    def submit(self, work: Callable[_Given, _Done], /, *args: _Given.args, **named: _Given.kwargs) -> "Future[_Done]":
        """A future that is done."""
        future: Future[_Done] = Future()
        try:
            future.set_result(work(*args, **named))
        except DeepSentinelError as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[Crew]:
    context = get_context("spawn")  # a forked copy of GDAL's network threads and locks would hang
    end, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, initializer=_hang_on, initargs=(end,))
    try:
        yield Crew(pool, 2 * workers)
        pool.shutdown(wait=True)
    finally:
        lifeline.close()
        pool.shutdown(wait=True, cancel_futures=True)
        end.close()


@contextlib.contextmanager
def _threads(workers: int) -> Iterator[Crew]:
    pool = Threads(workers, thread_name_prefix="shard")
    try:
        yield Crew(pool, 2 * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Crew]:
    try:
        dask: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise PlanError(f"--scheduler {address} needs Dask: pip install 'deepsentinel[dask]'") from error
    try:
        client = dask.Client(address, timeout=_DASK_TIMEOUT_S, set_as_default=False)
    except OSError as error:
        raise PlanError(f"no Dask scheduler answers at {address} ({type(error).__name__}); start one first") from error
    with client:
        slots = sum(client.nthreads().values())
        if not slots:
            raise PlanError(f"the Dask scheduler at {address} has no workers; start some: dask worker {address}")
        yield Crew(client.get_executor(pure=False), 2 * slots)


def _hang_on(end: Connection) -> None:
    """Die with the build: a worker that outlived it would write into the folder of the next one.

    Nothing is ever sent down the pipe; it breaks when the build lets go of its own end, or is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the build decides

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            end.recv()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _outcome(future: "Future[Any]") -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, DeepSentinelError):
        return error
    if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":  # Dask's, mostly not installed
        raise _lost(error) from error
    raise error


def _lost(error: BaseException) -> WorkerLostError:
    return WorkerLostError(
        f"a worker process died ({type(error).__name__}), perhaps for want of memory; finished shards are kept: "
        "run the same command again, with fewer --workers if it happens again"
    )
