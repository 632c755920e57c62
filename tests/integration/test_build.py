"""Builds of the simulated Earth over HTTP: right pixels, the same bytes however often they are stopped."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio

from catalog.bands import S2_10M
from catalog.errors import OutputExistsError
from catalog.reader import ShardReader
from catalog.shard import list_shards, provenance_of, shard_path, shard_ref
from ingest.build import Build, run
from ingest.errors import PlanError
from ingest.ledger import read_rows
from ingest.radiometry import stored_gamma0
from ingest.sample import read_plan, write_plan
from ingest.sandbox.faults import Faults
from ingest.sandbox.items import blob_path
from ingest.sandbox.server import Sandbox

SHARD_ROWS = 16


@pytest.fixture(scope="module")
def undisturbed(tiny_archive, tiny_plan, tmp_path_factory):
    out = tmp_path_factory.mktemp("build") / "corpus"
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(options(tiny_plan, out))
    return out


def options(plan, out, **changes):
    return Build(plan, out, shard_rows=SHARD_ROWS, **changes)


def checksums(root):
    return [shard_ref(root, index) for index in list_shards(root)]


def test_stored_pixels_equal_the_files_read_with_rasterio(undisturbed, tiny_archive):
    """Windows of the archive's own COGs, opened as local files, are the reference."""
    for provenance in provenance_of(undisturbed, 1):
        grid = provenance.grid
        reader = ShardReader(shard_path(undisturbed, 1))
        row = provenance_of(undisturbed, 1).index(provenance)
        for position, band in enumerate(S2_10M):
            stored = np.empty((4, 64, 64), "uint16")
            reader.read_into("s2_10m", row, stored)
            expected = window(tiny_archive, provenance.s2["hrefs"][band.name], grid.bounds_m)
            np.testing.assert_array_equal(stored[position], expected)
        gamma0 = np.empty((2, 64, 64), "int16")
        reader.read_into("s1", row, gamma0)
        power = window(tiny_archive, provenance.s1["hrefs"]["VH"], grid.bounds_m)
        np.testing.assert_array_equal(gamma0[1], stored_gamma0(power))


def window(archive, href, bounds_m):
    with rasterio.open(archive / "blobs" / blob_path(href)) as image:
        return image.read(1, window=image.window(*bounds_m))


def test_two_workers_and_a_busy_provider_give_the_same_bytes(undisturbed, tiny_archive, tiny_plan, tmp_path):
    faults = Faults(search_429_every=3, blob_503_every=40, token_reads=200)
    with Sandbox(tiny_archive, faults=faults) as sandbox, sandbox.applied():
        run(options(tiny_plan, tmp_path / "corpus", workers=2))
    assert checksums(tmp_path / "corpus") == checksums(undisturbed)
    assert read_rows(tmp_path / "corpus" / "ledger") == read_rows(undisturbed / "ledger")


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(undisturbed, tiny_archive, tiny_plan, tmp_path):
    out = tmp_path / "corpus"
    command = [sys.executable, "-m", "ingest.build", str(tiny_plan), "--out", str(out), "--shard-rows", str(SHARD_ROWS)]
    with Sandbox(tiny_archive, latency_s=0.005) as sandbox:
        environ = {**os.environ, **sandbox.environ}
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list_shards(out):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        partial = checksums(out)
        assert 0 < len(partial) < len(checksums(undisturbed))
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    assert checksums(out) == checksums(undisturbed)
    assert not list((out / "shards").glob(".*"))


def test_every_place_has_one_outcome_and_every_patch_one_place(undisturbed, tiny_plan):
    rows = read_rows(undisturbed / "ledger")
    plan = read_plan(tiny_plan)
    assert [row.draw for row in rows] == [place.draw for place in plan.places]
    stored = [p.patch_id for index in list_shards(undisturbed) for p in provenance_of(undisturbed, index)]
    assert sorted(row.patch_id for row in rows if row.status == "written") == sorted(stored)


def test_no_token_or_signed_address_is_stored(undisturbed):
    for path in undisturbed.rglob("*"):
        if path.is_file() and path.suffix != ".parquet":
            assert b"sig=" not in path.read_bytes(), path


def test_a_finished_build_is_left_alone_and_another_plan_is_refused(undisturbed, tiny_archive, tiny_plan, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.zarr/**/*")}
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(options(tiny_plan, undisturbed))
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.zarr/**/*")} == before
    plan = read_plan(tiny_plan)
    write_plan(dataclasses.replace(plan, count=4), tmp_path / "other.parquet")
    with pytest.raises(OutputExistsError, match="another plan"):
        run(options(tmp_path / "other.parquet", undisturbed))


def test_images_that_are_gone_are_skipped_by_name(tiny_archive, tiny_plan, tmp_path):
    """Every place of the tiny archive needs the missing band, so nothing can replace them and the build says so."""
    faults = Faults(missing_blobs=("*B11_20m.tif",))
    hint = pytest.raises(PlanError, match=r"mostly missing_image.*--reserve")
    with Sandbox(tiny_archive, faults=faults) as sandbox, sandbox.applied(), hint:
        run(options(tiny_plan, tmp_path / "corpus"))
    assert list_shards(tmp_path / "corpus") == []


@pytest.mark.parametrize("level", ["WARNING", "DEBUG"])
def test_no_token_is_logged_when_requests_fail(level, tiny_archive, tiny_plan, tmp_path):
    """Anything that any library logs in the building process and its workers, with every kind of failed request."""
    program = (
        "import logging, sys, tyro; from ingest.build import Build, run; "
        "logging.basicConfig(level=sys.argv.pop(1)); run(tyro.cli(Build))"
    )
    faults = Faults(blob_503_every=20, blob_cut_every=17, blob_xml_every=23, token_reads=40, search_429_every=2)
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", program, level, tiny_plan, "--out", out, "--shard-rows", "32"]
    with Sandbox(tiny_archive, faults=faults) as sandbox:
        done = subprocess.run(command, env={**os.environ, **sandbox.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "503" in done.stderr
    assert "sig=" not in done.stdout + done.stderr
    assert not [path for path in out.rglob("*") if path.is_file() and b"sig=" in path.read_bytes()]
