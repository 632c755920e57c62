"""Archives for the integration tests, made once a worker."""

from pathlib import Path

import pytest

from ingest.build import Build
from ingest.build import run as build
from ingest.limits import Limits
from ingest.sample import Sample
from ingest.sample import run as sample
from ingest.sandbox.real import write_real_archive
from ingest.sandbox.server import Sandbox
from ingest.sandbox.simulate import simulate

REAL_FOLDERS = ("terramind_s1rtc_s2l2a", "bigearthnet_examples")


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory) -> Path:
    """Four cells of the simulated Earth, some days in June 2018."""
    archive = tmp_path_factory.mktemp("simulated") / "archive"
    simulate("tiny", archive, seed=0)
    return archive


@pytest.fixture(scope="session")
def tiny_plan(tiny_archive) -> Path:
    """Every cell of 64 px of the tiny archive."""
    plan = tiny_archive.parent / "plan.parquet"
    region = str(tiny_archive / "regions" / "tiny.geojson")
    sample(Sample(plan, region=region, every_cell=True, start="2018-06-01", end="2018-06-10", side_px=64))
    return plan


@pytest.fixture(scope="session")
def real_archive(shared_data, tmp_path_factory) -> Path:
    """The eight sites of real pixels."""
    archive = tmp_path_factory.mktemp("real") / "archive"
    write_real_archive([shared_data / folder for folder in REAL_FOLDERS], archive)
    return archive


@pytest.fixture(scope="session")
def real_build(real_archive) -> Path:
    """All cells of 60 px of the real sites, ingested over HTTP; 60 px, so that whole cells fit in sites of 120 px."""
    folder = real_archive.parent
    tiles = tuple(sorted({path.stem.split("_T")[1][:5] for path in real_archive.glob("items/sentinel-2-l2a/*.json")}))
    plan, out = folder / "plan.parquet", folder / "labelless"
    sample(
        Sample(
            plan, region=str(real_archive / "regions"), every_cell=True, tiles=tiles, stratum_days=4000,
            start="2017-01-01", end="2024-01-01", side_px=60,
        )
    )  # fmt: skip
    everything = Limits(s1_valid_min=0.0, s2_valid_min=0.0, patch_cloud_max=1.0, physics="warn")
    with Sandbox(real_archive) as sandbox, sandbox.applied():
        build(Build(plan, out, scene_cloud_max=100.0, limits=everything, shard_rows=16))
    return out
