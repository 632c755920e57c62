"""Crews of every kind: each job once, few handed out at a time, errors told apart, none outlives its employer."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from ingest.errors import PlanError, ReadError, WorkerLostError
from ingest.workers import Crew, hire, terminable


def double(number):
    return 2 * number


def fail_on_odd(number):
    if number % 2:
        raise ReadError(f"{number} is odd")
    return number


def divide(number):
    return 1 / number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def process_id(number):
    time.sleep(0.05)
    return os.getpid(), threading.get_ident()


@pytest.mark.parametrize("scheduler, workers", [("local", 1), ("local", 2), ("threads", 1), ("threads", 3)])
def test_every_job_is_done_once(scheduler, workers):
    with hire(scheduler, workers) as crew:
        assert sorted(crew.run(double, range(20))) == [2 * number for number in range(20)]


@pytest.mark.parametrize("scheduler, workers", [("local", 1), ("local", 2), ("threads", 2)])
def test_expected_errors_are_results_and_the_other_jobs_go_on(scheduler, workers):
    with hire(scheduler, workers) as crew:
        outcomes = list(crew.run(fail_on_odd, range(6)))
    assert sorted(one for one in outcomes if isinstance(one, int)) == [0, 2, 4]
    assert sorted(str(one) for one in outcomes if isinstance(one, ReadError)) == ["1 is odd", "3 is odd", "5 is odd"]


@pytest.mark.parametrize("scheduler, workers", [("local", 1), ("local", 2), ("threads", 2)])
def test_a_bug_is_no_result(scheduler, workers):
    with pytest.raises(ZeroDivisionError), hire(scheduler, workers) as crew:
        list(crew.run(divide, [1, 0, 1]))


def test_local_workers_are_other_processes_and_threads_are_not():
    with hire("local", 2) as crew:
        processes = {pid for pid, _ in crew.run(process_id, range(6))}
    with hire("threads", 2) as crew:
        threads = set(crew.run(process_id, range(6)))
    assert os.getpid() not in processes
    assert {pid for pid, _ in threads} == {os.getpid()}
    assert len({thread for _, thread in threads}) == 2


def test_a_killed_process_is_an_error_that_says_what_to_do():
    hint = "run the same command again, with fewer --workers"
    with pytest.raises(WorkerLostError, match=hint), hire("local", 2) as crew:
        list(crew.run(die, range(2)))


def test_a_process_that_is_killed_between_two_outcomes_is_the_same_error():
    """Then handing out the next job fails, before anything is known of the jobs at work."""
    with hire("local", 2) as crew:
        outcomes = crew.run(process_id, range(20))
        os.kill(next(outcomes)[0], signal.SIGKILL)
        with contextlib.suppress(BrokenExecutor):
            while True:
                crew.executor.submit(double, 1).result()
        with pytest.raises(WorkerLostError, match="a worker process died"):
            next(outcomes)


def test_no_more_jobs_are_taken_than_may_be_handed_out():
    """A plan's million candidates shall not all wait in a queue at once."""
    taken: list[int] = []
    done: list[int] = []
    ahead = []

    def jobs():
        for number in range(30):
            taken.append(number)
            ahead.append(len(taken) - len(done))
            yield number

    with hire("threads", 2) as crew:
        assert crew.at_once == 4
        for outcome in crew.run(double, jobs()):
            done.append(outcome)
    assert max(ahead) <= crew.at_once + 2  # `wait` may give some that are done together
    assert len(done) == 30


def test_a_job_that_is_left_waiting_is_dropped_when_the_crew_goes(monkeypatch):
    """Of four that are handed out to two threads one is done, two may be at work, and the last has not begun."""
    begun, may_end = [], threading.Event()

    def work(number):
        begun.append(number)
        if number:
            may_end.wait()
        return number

    with hire("threads", 2) as crew:
        shutdown = crew.executor.shutdown

        def shutdown_and_let_end(wait=True, *, cancel_futures=False):
            shutdown(wait=False, cancel_futures=cancel_futures)
            may_end.set()
            shutdown(wait=wait)

        monkeypatch.setattr(crew.executor, "shutdown", shutdown_and_let_end)
        for _ in crew.run(work, range(100)):
            break
    assert set(begun) <= {0, 1, 2}


@pytest.mark.parametrize("scheduler", ["slurm", "http://127.0.0.1:1", ""])
def test_an_unknown_scheduler_is_named(scheduler):
    with pytest.raises(PlanError, match=f"unknown scheduler '{scheduler}'"):
        hire(scheduler, 2)


def test_sigterm_ends_the_program_as_ctrl_c_does_and_only_inside():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_cannot_set_signals_and_goes_without():
    """Builds also run in threads, such as a notebook's or a test's."""
    entered = []

    def work():
        with terminable():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGTERM)]


_EMPLOYER = """
import os, sys, time
from ingest.workers import hire

def job(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    with hire("local", 2) as crew:
        list(crew.run(job, sys.argv[1:]))
"""


def test_workers_die_with_a_killed_build(tmp_path):
    """They would write into the folder of the next one."""
    program = tmp_path / "employer.py"
    program.write_text(_EMPLOYER)
    told = [tmp_path / "first", tmp_path / "second"]
    build = subprocess.Popen([sys.executable, program, *told])
    workers = [int(wait_for(path)) for path in told]
    assert all(map(is_alive, workers))
    build.kill()
    build.wait()
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_alive, workers))


def wait_for(path):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"nobody wrote {path}")


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_crew_takes_any_executor():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert list(Crew(pool, 1).run(double, [1, 2, 3])) == [2, 4, 6]
