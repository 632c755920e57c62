"""Times as requests state them, and as the index keeps them: microseconds since 1970 in UTC."""

import datetime as dt

from catalog.serving.guards import RequestError

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
ALWAYS_US = (-(1 << 62), 1 << 62)  # before and after every time


def to_us(stated: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time or date; UTC where it names no zone.

    Raises:
        RequestError: it is none.
    """
    try:
        time = dt.datetime.fromisoformat(stated.upper())
    except (ValueError, AttributeError) as error:
        raise RequestError(f"{str(stated)[:60]!r} is no time; write it as 2020-06-01T12:00:00Z") from error
    return ((time if time.tzinfo else time.replace(tzinfo=dt.UTC)) - _EPOCH) // _MICROSECOND


def to_interval_us(stated: str) -> tuple[int, int]:
    """First and last microsecond of the STAC parameter `datetime`: a time, or two with a slash, each may be open.

    Raises:
        RequestError: it is neither, or ends before it starts.
    """
    parts = stated.split("/")
    if len(parts) > 2 or all(part in ("", "..") for part in parts):
        raise RequestError(f"datetime {stated[:80]!r} is no time and no interval START/END, of which one may be '..'")
    ends = [ALWAYS_US[i] if part in ("", "..") else to_us(part) for i, part in enumerate(parts)]
    if ends[0] > ends[-1]:
        raise RequestError(f"datetime {stated[:80]!r} ends before it starts")
    return ends[0], ends[-1]
