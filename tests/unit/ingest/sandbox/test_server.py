"""Tokens, blobs and the server itself; the real SDK and GDAL read through it."""

import http.client
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import planetary_computer
import pystac_client
import pytest
import rasterio
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from catalog.errors import DeepSentinelError
from ingest.sandbox.blobs import UnsatisfiableRangeError, parse_range
from ingest.sandbox.items import blob_path
from ingest.sandbox.server import Sandbox
from tests.unit.ingest.sandbox.conftest import make_s1_item, make_s2_item, pixels

GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


@pytest.fixture(scope="module")
def sandbox(archive):
    with Sandbox(archive) as running, running.applied():
        yield running


@pytest.fixture(scope="module")
def blob(archive) -> tuple[str, bytes]:
    """Href and bytes of one blob."""
    href = make_s1_item()["assets"]["vv"]["href"]
    return href, (archive / "blobs" / blob_path(href)).read_bytes()


def get(sandbox: Sandbox, url: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(method, url, headers=headers, proxies={"http": sandbox.url}, timeout=10)


@pytest.mark.parametrize("name", ["B02", "B05", "B01", "SCL", "vv"])
def test_gdal_reads_signed_hrefs_as_local_files(sandbox, archive, name):
    item = make_s1_item() if name == "vv" else make_s2_item(0)
    href = item["assets"][name]["href"]
    window = Window(190, 290, 140, 110)
    with rasterio.open(archive / "blobs" / blob_path(href)) as local:
        expected, profile = local.read(1, window=window), local.profile
    with rasterio.Env(**GDAL), rasterio.open(planetary_computer.sign(href)) as remote:
        np.testing.assert_array_equal(remote.read(1, window=window), expected)
        assert remote.profile == profile
    np.testing.assert_array_equal(expected[10:100, 10:130], pixels(name))


def test_one_token_serves_a_container(archive):
    with Sandbox(archive) as sandbox, sandbox.applied():
        for day in (0, 3):
            for name in ("B02", "B03", "SCL"):
                planetary_computer.sign(make_s2_item(day)["assets"][name]["href"])
        planetary_computer.sign(make_s1_item()["assets"]["vv"]["href"])
        assert sandbox.counters.tokens == 2


def test_search_sign_and_read_end_to_end(sandbox):
    client = pystac_client.Client.open(sandbox.stac_url, modifier=planetary_computer.sign_inplace)
    item = next(client.search(collections=["sentinel-1-rtc"], bbox=[13.5, 51.6, 13.6, 51.7]).items())
    with rasterio.Env(**GDAL), rasterio.open(item.assets["vh"].href) as raster:
        np.testing.assert_array_equal(raster.read(1, window=Window(200, 300, 120, 90)), pixels("vh"))


def test_expired_token_is_403_and_a_new_one_reads(archive):
    href = make_s2_item(0)["assets"]["B04"]["href"]
    with Sandbox(archive, token_ttl_s=-1) as sandbox, sandbox.applied(), rasterio.Env(**GDAL):
        signed = planetary_computer.sign(href)
        answer = get(sandbox, signed)
        assert answer.status_code == 403
        assert "<Code>AuthenticationFailed</Code>" in answer.text
        with pytest.raises(RasterioIOError, match="403"):
            rasterio.open(signed)
    with Sandbox(archive) as sandbox, sandbox.applied(), rasterio.Env(**GDAL):
        with pytest.raises(RasterioIOError, match="403"):
            rasterio.open(signed)  # another sandbox did not issue it
        with rasterio.open(planetary_computer.sign(href)) as raster:
            assert raster.read(1, window=Window(200, 300, 1, 1)) == pixels("B04")[0, 0]


def test_blobs_want_a_token_of_their_container(sandbox, blob):
    href, _ = blob
    assert get(sandbox, href).status_code == 404
    assert "<Code>ResourceNotFound</Code>" in get(sandbox, href).text
    other = requests.get(f"{sandbox.url}/api/sas/v1/token/sentinel2l2a01/sentinel2-l2", timeout=10).json()["token"]
    assert get(sandbox, f"{href}?{other}").status_code == 403
    signed = planetary_computer.sign(href)
    assert get(sandbox, signed.replace("se=20", "se=30")).status_code == 403
    assert get(sandbox, signed).status_code == 200


def test_unknown_blob_is_404_after_the_token_was_accepted(sandbox, blob):
    signed = planetary_computer.sign(blob[0].replace("iw-vv", "iw-hh"))
    answer = get(sandbox, signed)
    assert answer.status_code == 404
    assert "<Code>BlobNotFound</Code>" in answer.text


def test_archive_files_outside_blobs_cannot_be_reached(sandbox, blob):
    host = "http://sentinel1euwestrtc.blob.core.windows.net"
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=10)
    connection.request("GET", f"{host}/sentinel1-grd-rtc/../../../items/x.json?{urlsplit(blob[0]).query}")
    assert connection.getresponse().status == 400
    connection.close()


def test_head_tells_the_size_and_sends_nothing(sandbox, blob):
    answer = get(sandbox, planetary_computer.sign(blob[0]), "HEAD")
    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(blob[1])
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.content == b""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_range_is_the_slice_of_the_file(sandbox, blob, data):
    href, content = blob
    start = data.draw(st.integers(0, len(content) - 1))
    stop = data.draw(st.integers(start, len(content) + 10))
    header = data.draw(st.sampled_from([f"bytes={start}-{stop}", f"bytes={start}-", f"bytes=-{stop - start + 1}"]))
    answer = get(sandbox, planetary_computer.sign(href), Range=header)
    expected = content[start : stop + 1] if header.endswith(str(stop)) and "=-" not in header else content[start:]
    if "=-" in header:
        expected = content[-(stop - start + 1) :]
    assert answer.status_code == 206
    assert answer.content == expected
    first = len(content) - len(expected) if "=-" in header else start
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(content)}"


def test_ranges_that_cannot_be_or_are_not_understood(sandbox, blob):
    href, content = planetary_computer.sign(blob[0]), blob[1]
    answer = get(sandbox, href, Range=f"bytes={len(content)}-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"
    for header in ("bytes=0-1,5-6", "bytes=9-3", "lines=1-2", "bytes=-"):
        answer = get(sandbox, href, Range=header)
        assert (answer.status_code, len(answer.content)) == (200, len(content))


def test_parse_range_of_empty_files():
    assert parse_range(None, 0) is None
    for header in ("bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0"):
        with pytest.raises(UnsatisfiableRangeError):
            parse_range(header, 0)


def test_counters_tell_requests_and_bytes(archive, blob):
    href, content = blob
    with Sandbox(archive) as sandbox, sandbox.applied():
        signed = planetary_computer.sign(href)
        get(sandbox, signed)
        get(sandbox, signed, Range="bytes=5-14")
        get(sandbox, signed, "HEAD")
        get(sandbox, href)
        requests.post(f"{sandbox.stac_url}/search", json={}, timeout=10)
        counts = sandbox.counters
    assert (counts.searches, counts.tokens, counts.blob_requests) == (1, 1, 4)
    assert counts.blob_bytes == len(content) + 10


def test_connection_is_kept_alive(sandbox, blob):
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=10)
    sockets = set()
    for _ in range(3):
        connection.request("GET", planetary_computer.sign(blob[0]), headers={"Range": "bytes=0-9"})
        assert connection.getresponse().read() == blob[1][:10]
        sockets.add(connection.sock)
    connection.close()
    assert len(sockets) == 1


def test_many_clients_at_once_get_their_own_bytes(sandbox, blob):
    href, content = planetary_computer.sign(blob[0]), blob[1]
    wrong: list[int] = []

    def read(worker: int) -> None:
        for step in range(10):
            start = (worker * 37 + step * 11) % (len(content) - 50)
            if get(sandbox, href, Range=f"bytes={start}-{start + 49}").content != content[start : start + 50]:
                wrong.append(worker)

    threads = [threading.Thread(target=read, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_other_hosts_are_refused(sandbox):
    answer = get(sandbox, "http://example.org/")
    assert answer.status_code == 502
    assert "offline" in answer.text


@pytest.mark.parametrize("path", ["/", "/api/stac/v1/nothing", "/api/stac/v1/collections/landsat", "/api/stac/v10"])
def test_unknown_paths_are_404(sandbox, path):
    assert requests.get(sandbox.url + path, timeout=10).status_code == 404


@pytest.mark.parametrize("path", ["", "/a/b/c", "/naip"])
def test_unknown_containers_have_no_token(sandbox, path):
    assert requests.get(f"{sandbox.url}/api/sas/v1/token{path}", timeout=10).status_code == 404


def test_applied_restores_the_environment_and_the_sdk(archive, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_PROXY", "http://before")
    monkeypatch.delenv("PC_SDK_SAS_URL", raising=False)
    with Sandbox(archive) as sandbox:
        with sandbox.applied():
            assert os.environ["GDAL_HTTP_PROXY"] == sandbox.url
            assert os.environ["DEEPSENTINEL_STAC_URL"] == sandbox.stac_url
            assert planetary_computer.settings.Settings.get().sas_url == sandbox.environ["PC_SDK_SAS_URL"]
            planetary_computer.sign(make_s1_item()["assets"]["vv"]["href"])
            assert planetary_computer.sas.TOKEN_CACHE
        assert os.environ["GDAL_HTTP_PROXY"] == "http://before"
        assert "PC_SDK_SAS_URL" not in os.environ
        assert not planetary_computer.sas.TOKEN_CACHE
        assert planetary_computer.settings.Settings.get().sas_url.startswith("https://planetarycomputer")
    planetary_computer.settings.Settings.get.cache_clear()


def test_stopping_hangs_up_and_frees_the_port(archive):
    with Sandbox(archive) as first:
        port = urlsplit(first.url).port
        with pytest.raises(DeepSentinelError, match="choose another port"), Sandbox(archive, port=port):
            pass
        session = requests.Session()
        session.trust_env = False
        assert session.get(first.stac_url, timeout=10).ok  # leaves an open connection behind
    with Sandbox(archive, port=port) as second:
        assert session.get(second.stac_url, timeout=10).ok
    session.close()
    with pytest.raises(DeepSentinelError, match="not running"):
        _ = second.url


def test_a_folder_without_items_is_refused(tmp_path: Path):
    with pytest.raises(DeepSentinelError, match="no archive"), Sandbox(tmp_path):
        pass
