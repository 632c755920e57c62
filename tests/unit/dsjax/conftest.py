"""A published corpus of made-up patches, and the settings of runs small enough for a test."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from catalog.corpus import Corpus
from catalog.fake import write_fake_build
from catalog.publish import publish
from dsjax.config import AugmentConfig, EncoderConfig, OptimiserConfig, Pretrain, Ramp, SimCLRConfig
from dsjax.labels import SPLIT

TINY = Pretrain(
    corpus="",
    out=Path(),
    steps=8,
    batch_size=8,
    crop_px=32,
    encoder=EncoderConfig("resnet10", width=0.125),
    augment=AugmentConfig(shift_px=Ramp(2, 8)),
    method=SimCLRConfig(projection_dim=16, hidden_dim=16),
    optimiser=OptimiserConfig(warmup=0.25),
    log_every=2,
    checkpoint_every=100,
    compilation_cache=None,
)


@pytest.fixture(scope="session")
def corpus_href(tmp_path_factory: pytest.TempPathFactory) -> str:
    """48 patches of 64 px in four classes of cover, labelled."""
    folder = tmp_path_factory.mktemp("corpus")
    publish([write_fake_build(folder / "build", 48, side_px=64)], folder / "published")
    return str(folder / "published" / "labelled")


@pytest.fixture
def labelled_corpus(corpus_href: str) -> Corpus:
    """The same with a split: fours of patches, one of each class, go to train, test, train and val in turn."""
    corpus = Corpus.open(corpus_href)
    splits = [("train", "test", "train", "val")[i // 4 % 4] for i in range(len(corpus))]
    return with_splits(corpus, splits)


def with_splits(corpus: Corpus, splits: list[str]) -> Corpus:
    """The same corpus, stating these splits."""
    stated = [name for name in (SPLIT,) if name in corpus.table.column_names]
    corpus.table = corpus.table.drop_columns(stated).append_column(SPLIT, pa.array(splits))
    return corpus


@pytest.fixture(scope="session")
def tiny_settings(corpus_href: str, tmp_path_factory: pytest.TempPathFactory) -> Pretrain:
    """Eight steps, seconds long, on every patch. What one run compiles serves the others."""
    cache = tmp_path_factory.mktemp("compiled")
    return dataclasses.replace(TINY, corpus=corpus_href, hold_out=(), compilation_cache=cache)


@pytest.fixture
def tiny(tiny_settings: Pretrain, tmp_path: Path) -> Pretrain:
    """The same with a run folder of its own."""
    return dataclasses.replace(tiny_settings, out=tmp_path / "run")
