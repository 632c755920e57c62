"""What a frozen encoder knows about land cover: `python -m dsjax.evaluate RUN --corpus HREF`.

Crops of labelled patches are embedded from Sentinel-1 alone, Sentinel-2 alone and both; their CORINE class is read off
by nearest neighbours and by logistic regression. The same is done with the encoder before training and with plain
image statistics: a pre-trained encoder is worth what it adds to these.
"""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from catalog.program import program_name
from dsjax.errors import ConfigError
from dsjax.program import reported_errors, start_logging

if TYPE_CHECKING:
    from catalog.corpus import Corpus
    from dsjax.checkpoints import TrainedEncoder
    from dsjax.collapse import Collapse
    from dsjax.metrics import Estimate

_log = logging.getLogger(__name__)

SUBSETS: dict[str, tuple[str, ...]] = {
    "s1": ("sentinel-1",),
    "s2": ("sentinel-2",),
    "both": ("sentinel-1", "sentinel-2"),
}
_MIN_TRAIN = 20  # crops of a class in training; with fewer, a probe measures luck


@dataclass(frozen=True)
class Evaluate:
    """Score a pre-trained encoder on labelled patches: its frozen embeddings beside those of the untrained encoder and
    image statistics, from Sentinel-1, from Sentinel-2 and from both.

    For example:
        evaluate runs/first --corpus catalog/labelled
        evaluate runs/first --corpus catalog/labelled --level 1 --crop-px 128 --out scores/first.json
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of a pre-training."""
    corpus: str
    """Labelled collection: its folder or URL (https, s3, gs, az), or a subset that a search wrote."""
    crop_px: int | None = None
    """Side of a crop, 10 m pixels; that of pre-training where not given."""
    level: int = 2
    """Digits of the CORINE code that make a class: 1, 2 or 3."""
    min_share: float = 0.6
    """Share of a crop that its class must cover."""
    draws: int = 1000
    """Of the bootstrap."""
    seed: int = 0
    out: Path | None = None
    """Where to write the scores; RUN/scores.json where not given."""


@dataclass(frozen=True)
class Score:
    """One encoder, one subset of sensors, one probe, one figure of merit."""

    encoder: str
    """pretrained, random or statistics."""
    sensors: str
    """A key of `SUBSETS`."""
    probe: str
    """knn or linear."""
    metric: str
    estimate: "Estimate"
    gain: "Estimate | None"
    """Score of the pre-trained encoder minus this one, paired; None for the pre-trained itself."""


@dataclass(frozen=True)
class Scores:
    """Everything an evaluation found."""

    run: str
    corpus: str
    fingerprint: str
    """Of the labelled corpus."""
    crops: dict[str, int]
    """How many, by split."""
    classes: dict[str, int]
    """Test crops by CORINE code."""
    scores: tuple[Score, ...]
    collapse: dict[str, "Collapse"]
    """Of the pre-trained embeddings of test crops, by sensors."""
    sensor_distance: float
    """Mean squared distance between what a crop looks like to either sensor alone, on the unit sphere: 0 is equal."""

    def find(self, encoder: str, sensors: str, probe: str, metric: str = "accuracy") -> Score:
        """The one score with these names."""
        return next(
            s for s in self.scores if (s.encoder, s.sensors, s.probe, s.metric) == (encoder, sensors, probe, metric)
        )


@dataclass(frozen=True)
class Crops:
    """Labelled crops of a corpus, in the order of its patches."""

    labels: NDArray[np.int64]
    patches: NDArray[np.intp]
    """Row of the patch of each crop."""
    splits: NDArray[np.str_]
    used: NDArray[np.bool_]
    """`patch row column`: which crops of the whole grid these are."""


def run(config: Evaluate) -> Scores:
    """Score the encoder of a run and write scores.json.

    Raises:
        DeepSentinelError: no run, no labels, or too few of them.
    """
    from catalog.corpus import COLUMNS, Corpus
    from dsjax.checkpoints import load_encoder
    from dsjax.collapse import alignment, measure_collapse
    from dsjax.contract import check_pixels
    from dsjax.labels import FOLD, NEAR_FOLDS

    if config.draws < 1 or config.seed < 0:
        raise ConfigError(f"draws is {config.draws} and seed {config.seed}; take 1 or more, and 0 or more")
    if config.out is not None and config.out.is_dir():
        raise ConfigError(f"{config.out} is a folder; give the name of a file in it")
    trained, corpus = load_encoder(config.run), Corpus.open(config.corpus, columns=(*COLUMNS, FOLD, NEAR_FOLDS))
    out = config.out or config.run / "scores.json"
    out.parent.mkdir(parents=True, exist_ok=True)  # before hours of scoring
    crop_px = config.crop_px or trained.config.crop_px
    check_pixels(corpus)
    crops = labelled_crops(corpus, crop_px, config.min_share, config.level)
    scores, frozen = score(trained, corpus, crops, crop_px, config)
    collapse = {subset: measure_collapse(z) for subset, z in frozen.items()}
    for subset, measured in collapse.items():
        if measured.collapsed:
            _log.warning("embeddings of %s have collapsed: %s", subset, measured)
    found = Scores(
        run=str(config.run),
        corpus=corpus.href,
        fingerprint=corpus.fingerprint,
        crops=_count(crops.splits),
        classes=_count(crops.labels[crops.splits == "test"]),
        scores=scores,
        collapse=collapse,
        sensor_distance=alignment(frozen["s1"], frozen["s2"]),
    )
    out.write_text(json.dumps(dataclasses.asdict(found), indent=1))
    return found


def labelled_crops(corpus: "Corpus", crop_px: int, min_share: float, level: int) -> Crops:
    """Crops with a class that is frequent enough in training and present in testing.

    Raises:
        ConfigError: crops do not fit the patches, there is no such level, the corpus has no CORINE labels, fewer than
            two classes are left, or none of them is in val.
    """
    from dsjax.crops import crops_a_side
    from dsjax.labels import UNKNOWN, crop_classes, splits_of

    crops_a_side(corpus, crop_px)
    if not 0 < min_share <= 1:
        raise ConfigError(f"min_share is {min_share:g}; it is a share of a crop: above 0, at most 1")
    if level not in (1, 2, 3):
        raise ConfigError(f"level {level}: a CORINE code has 3 digits, of which 1, 2 or 3 make a class")
    if "corine" not in corpus.arrays:
        raise ConfigError(f"{corpus.href} has no corine array, only {', '.join(corpus.arrays)}; take a labelled corpus")
    rows = range(len(corpus))
    parts = [corpus.read(rows[i : i + 64], ["corine"])["corine"] for i in range(0, len(rows), 64)]
    classes = np.concatenate([crop_classes(part, crop_px, min_share, level) for part in parts])
    splits = np.broadcast_to(splits_of(corpus.table)[:, None, None], classes.shape)
    kept = [
        code
        for code in np.unique(classes[classes != UNKNOWN])
        if (classes[splits == "train"] == code).sum() >= _MIN_TRAIN and (classes[splits == "test"] == code).any()
    ]
    if len(kept) < 2:
        raise ConfigError(
            f"{corpus.href} has {len(kept)} classes with {_MIN_TRAIN} training crops of {crop_px} px and a test crop, "
            "fewer than two; lower --min-share or --level, or take a larger corpus"
        )
    used = np.isin(classes, kept)
    if not (splits[used] == "val").any():
        raise ConfigError(
            f"{corpus.href} has no labelled crop of {crop_px} px in val, by which a probe chooses its penalty; "
            "lower --min-share or take a larger corpus"
        )
    return Crops(classes[used], np.nonzero(used)[0], splits[used], used)


def score(
    trained: "TrainedEncoder", corpus: "Corpus", crops: Crops, crop_px: int, config: Evaluate
) -> tuple[tuple[Score, ...], dict[str, NDArray[np.float32]]]:
    """Scores of the encoder and its floors for every subset of sensors, and its embeddings of test crops."""
    from dsjax.crops import map_crops
    from dsjax.floors import crop_functions

    scores: list[Score] = []
    frozen: dict[str, NDArray[np.float32]] = {}
    for subset, sensors in SUBSETS.items():
        predictions: dict[tuple[str, str], NDArray[np.integer]] = {}
        for name, function in crop_functions(trained, corpus, crop_px, sensors).items():
            z = map_crops(function, corpus, crop_px)[crops.used]
            predictions |= {(name, probe): labels for probe, labels in _predict(z, crops).items()}
            if name == "pretrained":
                frozen[subset] = z[crops.splits == "test"]
        scores += _compare(subset, predictions, crops, config)
    return tuple(scores), frozen


def _predict(z: NDArray[np.float32], crops: Crops) -> dict[str, NDArray[np.integer]]:
    from dsjax.probes import Labelled, knn, linear_probe

    train, val = (Labelled(z[crops.splits == s], crops.labels[crops.splits == s]) for s in ("train", "val"))
    test = z[crops.splits == "test"]
    return {"knn": knn(train, test), "linear": linear_probe(train, val, test)}


def _compare(
    subset: str, predictions: dict[tuple[str, str], NDArray[np.integer]], crops: Crops, config: Evaluate
) -> list[Score]:
    from dsjax.metrics import METRICS, confusions, estimate, estimate_gain, resamples

    test = crops.splits == "test"
    counts = {
        key: confusions(crops.labels[test], predicted, crops.patches[test]) for key, predicted in predictions.items()
    }
    weights = resamples(len(np.unique(crops.patches[test])), config.draws, config.seed)
    found = []
    for (name, probe), own in counts.items():
        best = counts["pretrained", probe]
        for metric, measure in METRICS.items():
            gain = None if name == "pretrained" else estimate_gain(measure, best, own, weights)
            found.append(Score(name, subset, probe, metric, estimate(measure, own, weights), gain))
    return found


def _count(values: NDArray[Any]) -> dict[str, int]:
    names, counts = np.unique(values, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def show(scores: Scores) -> None:
    """Print accuracies as a table on the terminal, each with its 95 % interval, in 80 columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table("sensors", "probe", "encoder", "accuracy, 95 %", "F1", "pre-trained adds",
                  box=None, padding=(0, 2, 0, 0))  # fmt: skip
    for s in scores.scores:
        if s.metric == "accuracy":
            f1 = scores.find(s.encoder, s.sensors, s.probe, "macro_f1").estimate.value
            accuracy = f"{s.estimate.value:.3f} {s.estimate.low:.3f}..{s.estimate.high:.3f}"
            gain = f"{s.gain.value:+.3f} {s.gain.low:+.3f}..{s.gain.high:+.3f}" if s.gain else ""
            table.add_row(s.sensors, s.probe, s.encoder, accuracy, f"{f1:.3f}", gain)
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, then run."""
    with reported_errors("run the same command again"):
        config = tyro.cli(Evaluate, prog=program_name(), args=arguments)
        start_logging()
        show(run(config))


if __name__ == "__main__":
    main()
