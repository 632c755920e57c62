import time

from ingest.ratelimit import RateLimit


def test_requests_beyond_the_burst_are_spread_over_time_and_shared_through_the_folder(tmp_path, monkeypatch):
    """A clock that only sleeping moves: 30 requests at 10 a second from two workers take 2 s after a burst of 1 s."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    workers = RateLimit(tmp_path, 10.0), RateLimit(tmp_path, 10.0)
    for i in range(30):
        workers[i % 2].wait("host")
    assert abs(now[0] - 1001.9) < 1e-6  # the thirtieth waits for 29 steps of 0.1 s, less the burst
    workers[0].wait("another host")
    assert abs(now[0] - 1001.9) < 1e-6


def test_a_pause_holds_for_every_worker_also_without_a_limit(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    RateLimit(tmp_path, 0.0).pause("host", 7.0)
    RateLimit(tmp_path, 0.0).wait("host")
    assert now[0] == 1007.0
