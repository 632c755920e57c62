"""Each fault does what its field says, on the requests it names and no others."""

import http.client
from urllib.parse import urlsplit

import pytest
import requests

from catalog.errors import DeepSentinelError
from ingest.sandbox.faults import Faults, due
from ingest.sandbox.items import blob_path
from tests.unit.ingest.sandbox.conftest import make_s2_item

SEARCH = {"collections": ["sentinel-2-l2a", "sentinel-1-rtc"]}


@pytest.fixture
def href() -> str:
    return str(make_s2_item(0)["assets"]["B02"]["href"])


def search(sandbox, **body):
    return requests.post(f"{sandbox.stac_url}/search", json=SEARCH | body, timeout=10)


def token(sandbox) -> str:
    answer = requests.get(f"{sandbox.url}/api/sas/v1/token/sentinel-2-l2a", timeout=10)
    return str(answer.json()["token"])


def blob(sandbox, url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, proxies={"http": sandbox.url}, timeout=10)


def test_every_third_means_the_third_sixth_ninth():
    assert [count for count in range(1, 10) if due(3, count)] == [3, 6, 9]
    assert not any(due(0, count) for count in range(1, 10))
    assert all(due(1, count) for count in range(1, 10))


def test_negative_counts_are_refused():
    with pytest.raises(DeepSentinelError, match="blob_503_every is -1"):
        Faults(blob_503_every=-1)


def test_searches_answer_429_with_retry_after(running):
    sandbox = running(faults=Faults(search_429_every=2))
    answers = [search(sandbox) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 200, 429]
    assert answers[1].headers["Retry-After"] == "1"
    assert answers[1].text == "Too Many Requests"


def test_searches_answer_504_in_text(running):
    sandbox = running(faults=Faults(search_504_every=1))
    answer = search(sandbox)
    assert answer.status_code == 504
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.text.startswith("The request exceeded the maximum allowed time, please try again.")


def test_search_answers_break_off(running):
    sandbox = running(faults=Faults(search_cut_every=2))
    assert len(search(sandbox).json()["features"]) == 3
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        search(sandbox)
    assert len(search(sandbox).json()["features"]) == 3


def test_short_pages_lose_nothing_when_links_are_followed(running):
    sandbox = running(faults=Faults(short_page_every=1))
    whole = [item["id"] for item in search(running()).json()["features"]]
    first = search(sandbox, limit=3).json()
    assert len(first["features"]) == 1
    found, page = list(first["features"]), first
    while any(link["rel"] == "next" for link in page["links"]):
        link = next(link for link in page["links"] if link["rel"] == "next")
        page = requests.post(link["href"], json=link["body"], timeout=10).json()
        found += page["features"]
    assert [item["id"] for item in found] == whole


def test_next_links_can_be_missing(running):
    page = search(running(faults=Faults(drop_next_links=True)), limit=2).json()
    assert len(page["features"]) == 2
    assert {link["rel"] for link in page["links"]} == {"root", "self"}


def test_token_requests_answer_429(running):
    sandbox = running(faults=Faults(token_429_every=2))
    answers = [requests.get(f"{sandbox.url}/api/sas/v1/token/sentinel-2-l2a", timeout=10) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert answers[1].json()["statusCode"] == 429
    assert "Rate limit is exceeded" in answers[1].json()["message"]


def test_tokens_wear_out_one_by_one(running, href):
    sandbox = running(faults=Faults(token_reads=2))
    first, second = f"{href}?{token(sandbox)}", f"{href}?{token(sandbox)}"
    assert [blob(sandbox, first).status_code for _ in range(3)] == [200, 200, 403]
    assert [blob(sandbox, second).status_code for _ in range(3)] == [200, 200, 403]
    assert "<Code>AuthenticationFailed</Code>" in blob(sandbox, first).text


def test_named_blobs_are_missing(running, href):
    sandbox = running(faults=Faults(missing_blobs=("*/T33UUU_20230601*_B02_*",)))
    signature = token(sandbox)
    answer = blob(sandbox, f"{href}?{signature}")
    assert answer.status_code == 404
    assert "<Code>BlobNotFound</Code>" in answer.text
    assert blob(sandbox, f"{href.replace('_B02_', '_B03_')}?{signature}").status_code == 200


def test_blobs_answer_503(running, href):
    sandbox = running(faults=Faults(blob_503_every=2))
    url = f"{href}?{token(sandbox)}"
    answers = [blob(sandbox, url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 503, 200]
    assert "<Code>ServerBusy</Code>" in answers[1].text


def test_blobs_answer_an_error_with_status_200(running, href):
    sandbox = running(faults=Faults(blob_xml_every=1))
    answer = blob(sandbox, f"{href}?{token(sandbox)}", Range="bytes=0-15")
    assert answer.status_code == 200
    assert answer.text.startswith('<?xml version="1.0"')


def test_blob_bytes_break_off_halfway(running, archive, href):
    sandbox = running(faults=Faults(blob_cut_every=1))
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=10)
    connection.request("GET", f"{href}?{token(sandbox)}", headers={"Range": "bytes=10-109"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (206, "100")
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    connection.close()
    assert cut.value.partial == (archive / "blobs" / blob_path(href)).read_bytes()[10:60]
