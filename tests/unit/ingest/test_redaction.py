import logging

import pytest

from ingest.redaction import hide_tokens, redact

BARE = "https://s2.blob.core.windows.net/a/B02.tif"
SIGNED = BARE + "?st=2024&sp=rl&sig=abc%2F"


@pytest.mark.parametrize(
    "text, expected",
    [
        (SIGNED, BARE),
        (f"'/vsicurl/{SIGNED}' not recognized", f"'/vsicurl/{BARE}' not recognized"),
        (f"<a>{SIGNED}</a> and {SIGNED}", f"<a>{BARE}</a> and {BARE}"),
        ("why? because", "why? because"),
    ],
)
def test_addresses_lose_their_queries_and_nothing_else(text, expected):
    assert redact(text) == expected


def test_libraries_that_see_signed_addresses_log_none(caplog):
    for name in ("rasterio._env", "urllib3.connectionpool"):
        logging.getLogger(name)
    hide_tokens()
    hide_tokens()
    for name in ("rasterio._env", "urllib3.connectionpool"):
        logging.getLogger(name).warning("%s answers %d", SIGNED, 503)
    assert "sig=" not in caplog.text
    assert caplog.text.count("B02.tif answers 503") == 2
