"""A published corpus of made-up patches, and the settings of runs small enough for a test."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.fake import write_fake_build
from catalog.publish import publish
from dsjax.config import AugmentConfig, EncoderConfig, OptimiserConfig, Pretrain, Ramp, SimCLRConfig
from dsjax.labels import SPLIT

TINY = Pretrain(
    steps=8,
    batch_size=8,
    crop_px=32,
    encoder=EncoderConfig(width=0.125),
    augment=AugmentConfig(shift_px=Ramp(2, 8)),
    method=SimCLRConfig(projection_dim=16, hidden_dim=16),
    optimiser=OptimiserConfig(warmup=0.25),
    log_every=2,
    checkpoint_every=100,
    compilation_cache=None,
)


@pytest.fixture(scope="session")
def corpus_href(tmp_path_factory: pytest.TempPathFactory) -> str:
    """48 patches of 64 px in four classes of cover, labelled, with a split."""
    folder = tmp_path_factory.mktemp("corpus")
    publish([write_fake_build(folder / "build", 48, side_px=64)], folder / "published")
    collection = folder / "published" / "labelled"
    table = pq.read_table(collection / "items.parquet")
    splits = [("train", "test", "train", "val")[i // 4 % 4] for i in range(len(table))]
    pq.write_table(table.append_column(SPLIT, pa.array(splits)), collection / "items.parquet")
    return str(collection)


@pytest.fixture
def tiny(corpus_href: str, tmp_path: Path) -> Pretrain:
    """A run of eight steps, seconds long, on every patch."""
    return dataclasses.replace(TINY, corpus=corpus_href, out=tmp_path / "run", hold_out=())
