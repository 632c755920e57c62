"""What users get wrong: one line that names the cure, exit status 2, and nothing half-written."""

import os
import shutil
import subprocess
import sys

import pytest

from ingest.sample import Sample
from ingest.sample import run as sample
from ingest.sandbox.server import Sandbox


def program(*arguments, environ=None):
    """Run a program as a user does; its exit status and the lines of its error output."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if line.strip()]


def assert_one_line(outcome, *hints):
    status, lines = outcome
    assert status == 2, lines
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for hint in hints:
        assert hint in lines[0]


@pytest.fixture
def plan(tmp_path, tiny_archive):
    path = tmp_path / "plan.parquet"
    region = str(tiny_archive / "regions" / "tiny.geojson")
    sample(Sample(path, region=region, every_cell=True, start="2018-06-01", end="2018-06-10", side_px=64))
    return path


def test_an_unknown_region(tmp_path):
    outcome = program("ingest.sample", tmp_path / "plan.parquet", "--region", "Atlantis")
    assert_one_line(outcome, "unknown region ATLANTIS", "ISO 3166")
    assert list(tmp_path.iterdir()) == []


def test_a_provider_that_cannot_be_reached(plan, tmp_path):
    out = tmp_path / "corpus"
    outcome = program("ingest.build", plan, "--out", out, "--source", "http://127.0.0.1:9/stac")
    assert_one_line(outcome, "http://127.0.0.1:9/stac does not answer", "check the network", "sandbox")
    assert not list(out.glob("shards/*"))


def test_a_period_without_scenes(tiny_archive, tmp_path):
    plan, out = tmp_path / "plan.parquet", tmp_path / "corpus"
    sample(Sample(plan, region=str(tiny_archive / "regions" / "tiny.geojson"), count=2, reserve=0, side_px=64))
    with Sandbox(tiny_archive) as sandbox:
        outcome = program("ingest.build", plan, "--out", out, environ=sandbox.environ)
    assert_one_line(outcome, "has 0 Sentinel-2 and 0 Sentinel-1 scenes", "choose a region and period")
    assert not list(out.glob("shards/*"))


def test_a_truncated_image(tiny_archive, plan, tmp_path):
    archive = tmp_path / "archive"
    shutil.copytree(tiny_archive, archive)
    for image in archive.glob("blobs/**/*B03_10m.tif"):
        os.truncate(image, image.stat().st_size // 2)
    out = tmp_path / "corpus"
    with Sandbox(archive) as sandbox:
        outcome = program("ingest.build", plan, "--out", out, environ=sandbox.environ)
    assert_one_line(outcome, "mostly damaged_image", "--reserve")
    assert not list(out.glob("shards/*"))


def test_a_plan_that_is_not_there(tmp_path):
    outcome = program("ingest.build", tmp_path / "none.parquet", "--out", tmp_path / "corpus")
    assert_one_line(outcome, "there is no plan", "deepsentinel sample")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [[], ["--verify"], ["--split-block-deg", "0.25"]])
def test_options_may_follow_the_folders_of_publishing(tmp_path, flags):
    words = [sys.executable, "-m", "catalog.publish", tmp_path / "no-build", tmp_path / "catalog", *flags]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert f"{tmp_path / 'no-build'} holds no corpus.json" in ended.stderr
