import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from dsjax.metrics import METRICS, accuracy, confusions, estimate, estimate_gain, resamples

RNG = np.random.default_rng(0)
TRUTH = RNG.choice([11, 21, 31, 51], 300)
PREDICTED = np.where(RNG.random(300) < 0.6, TRUTH, RNG.choice([11, 21, 31, 41], 300))
PATCHES = RNG.integers(0, 20, 300)


@pytest.mark.parametrize(
    "name, oracle",
    [
        ("accuracy", accuracy_score),
        ("balanced_accuracy", balanced_accuracy_score),
        ("macro_f1", lambda t, p: f1_score(t, p, labels=np.unique(t), average="macro", zero_division=0.0)),
    ],
)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")  # that is the case to test
def test_metrics_equal_scikit_learn(name, oracle):
    counts = confusions(TRUTH, PREDICTED, PATCHES)
    assert counts.shape == (20, 5, 5)
    np.testing.assert_allclose(METRICS[name](counts.sum(0)), oracle(TRUTH, PREDICTED))


@pytest.mark.parametrize("name", METRICS)
def test_a_resample_is_scored_as_its_samples_would_be(name):
    weights = resamples(20, 5, seed=1)
    drawn = METRICS[name](np.tensordot(weights, confusions(TRUTH, PREDICTED, PATCHES), 1))
    for counts, value in zip(weights, drawn, strict=True):
        rows = np.concatenate([np.tile(np.flatnonzero(patch == PATCHES), n) for patch, n in enumerate(counts)])
        again = METRICS[name](confusions(TRUTH[rows], PREDICTED[rows], np.zeros(len(rows), int))[0])
        np.testing.assert_allclose(value, again)


def test_the_interval_is_as_wide_as_the_clusters_say():
    """Each patch is wholly right or wrong: the standard error is that of 100 coins, not of 1000 samples."""
    patches = np.arange(100).repeat(10)
    truth = np.zeros(1000, int)
    predicted = (patches % 2).astype(int)
    found = estimate(accuracy, confusions(truth, predicted, patches), resamples(100, 4000, seed=0))
    assert found.value == 0.5
    np.testing.assert_allclose(found.high - found.low, 2 * 1.96 * 0.05, rtol=0.1)


def test_a_paired_gain_is_narrower_than_its_scores():
    better = np.where(RNG.random(300) < 0.1, TRUTH, PREDICTED)
    best, own = (confusions(TRUTH, p, PATCHES) for p in (better, PREDICTED))
    weights = resamples(20, 2000, seed=0)
    gain, score = estimate_gain(accuracy, best, own, weights), estimate(accuracy, own, weights)
    np.testing.assert_allclose(gain.value, (better == TRUTH).mean() - (PREDICTED == TRUTH).mean())
    assert gain.low >= 0
    assert gain.high - gain.low < score.high - score.low
    assert estimate_gain(accuracy, own, own, weights).high == 0
