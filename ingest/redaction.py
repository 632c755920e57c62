"""Tokens stay out of messages: signed addresses lose their queries before anybody logs or stores them."""

import logging
import re

_QUERY = re.compile(r"\?[^\s'\"<>]+")
_TALKATIVE = ("rasterio", "urllib3")  # they log whole addresses, rasterio as warnings when a request fails


def redact(text: str) -> str:
    """A message without the query strings of its addresses, which may hold tokens."""
    return _QUERY.sub("", text)


def hide_tokens() -> None:
    """Redact what the libraries that see signed addresses log in this process, from now on.

    A filter of a logger does not hold for its children, so each one that exists gets it.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _TALKATIVE:
            logging.getLogger(name).addFilter(_redacted)  # the same one again changes nothing


def _redacted(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    return True
