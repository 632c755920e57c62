import jax
import jax.numpy as jnp
import numpy as np
import pytest

from catalog.bands import S1_NODATA
from catalog.corpus import Corpus
from dsjax.data import (
    GROUPS,
    SENSORS,
    Batch,
    Normalisation,
    Squares,
    cut_batch,
    decode,
    group_mask,
    normalise,
    random_windows,
    training_batches,
)
from dsjax.errors import ConfigError
from dsjax.order import rows_by_step

BANDS = [band.name for bands in GROUPS.values() for band in bands]
PLAIN = Normalisation(dict.fromkeys(BANDS, 0.0), dict.fromkeys(BANDS, 1.0))


def places(side_px: int, bands: int, shrink: int) -> np.ndarray:
    """Images whose every value names its band and its 20 m place."""
    y, x = np.indices((side_px, side_px)) // shrink
    return np.stack([10_000 * band + 100 * y + x for band in range(bands)]).astype("i4")


def test_cut_takes_the_same_ground_at_10_and_20_m():
    stored = {"s2_10m": places(64, 4, 2)[None], "s2_20m": places(32, 8, 1)[None], "s1": places(64, 2, 2)[None]}
    batch = cut_batch(stored, Squares(np.array([0, 0]), np.array([0, 6]), np.array([10, 30]), 8))
    assert batch.s2_10m.shape == (2, 4, 8, 8)
    np.testing.assert_array_equal(batch.s2_10m[:, :2, ::2, ::2], batch.s2_20m[:, :2])
    np.testing.assert_array_equal(batch.s1, batch.s2_10m[:, :2])
    np.testing.assert_array_equal(batch.s2_20m[1, :, 0, 0], 10_000 * np.arange(8) + 100 * 3 + 15)
    whole = cut_batch(stored, Squares(np.array([0]), np.array([0]), np.array([0]), 64))
    assert whole.s2_20m is stored["s2_20m"]


def test_windows_depend_on_seed_step_and_row_alone():
    rows = np.arange(40)
    whole, part = random_windows(3, 5, rows, 32, 32), random_windows(3, 5, rows[7:20], 32, 32)
    np.testing.assert_array_equal(whole.tops_px[7:20], part.tops_px)
    np.testing.assert_array_equal(whole.lefts_px[7:20], part.lefts_px)
    assert not np.array_equal(whole.tops_px, random_windows(3, 6, rows, 32, 32).tops_px)
    corners = np.concatenate([whole.tops_px, whole.lefts_px])
    assert set(corners % 2) == {0}
    assert corners.min() == 0
    assert corners.max() == 32


def test_any_number_of_processes_reads_the_same_rows_at_a_step():
    alone = rows_by_step(51, 8, seed=1)
    shared = [rows_by_step(51, 8, 1, process, 4) for process in range(4)]
    for step in range(20):  # more than three epochs of six steps
        together = np.concatenate([part[step] for part in shared])
        np.testing.assert_array_equal(together, alone[step])  # in the same order: a place in the batch has its own key


def test_an_epoch_reads_no_patch_twice_and_the_next_one_is_shuffled_anew():
    steps = rows_by_step(48, 8, seed=0)
    first, second = (np.concatenate([steps[i] for i in range(start, start + 6)]) for start in (0, 6))
    np.testing.assert_array_equal(np.sort(first), np.arange(48))
    np.testing.assert_array_equal(np.sort(second), np.arange(48))
    assert not np.array_equal(first, second)


def test_training_batches_resume_in_the_middle_of_an_epoch(corpus_href):
    corpus = Corpus.open(corpus_href)
    loader = training_batches(corpus, 8, 32, seed=0, threads=2)
    for _ in range(4):
        next(loader)
    state, expected = loader.get_state(), [next(loader) for _ in range(5)]
    resumed = training_batches(corpus, 8, 32, seed=0, threads=1)
    resumed.set_state(state)
    jax.tree.map(np.testing.assert_array_equal, expected, [next(resumed) for _ in range(5)])


def test_a_batch_is_what_the_corpus_stores_at_its_windows(corpus_href):
    corpus = Corpus.open(corpus_href)
    rows = rows_by_step(len(corpus), 4, seed=9)[0]
    squares = random_windows(9, 0, rows, 32, corpus.side_px - 32)
    batch = next(training_batches(corpus, 4, 32, seed=9, threads=1))
    for i, row in enumerate(rows):
        top, left = squares.tops_px[i], squares.lefts_px[i]
        stored = corpus[int(row)].s1[:, top : top + 32, left : left + 32]
        np.testing.assert_array_equal(batch.s1[i], stored)


def test_batches_that_cannot_be_made_say_so(corpus_href):
    with pytest.raises(ConfigError, match="48 patches"):
        rows_by_step(48, 64, seed=0)
    with pytest.raises(ConfigError, match="3 processes"):
        rows_by_step(48, 8, 0, 0, 3)
    with pytest.raises(ConfigError, match="64 px"):
        training_batches(Corpus.open(corpus_href), 8, 80, seed=0, threads=1)


def stored_batch() -> Batch:
    return Batch(
        np.full((2, 4, 6, 6), 2500, "u2"), np.full((2, 8, 3, 3), 1000, "u2"), np.full((2, 2, 6, 6), -1250, "i2")
    )


def test_decode_gives_reflectance_and_decibels_and_nan_for_nodata():
    batch = stored_batch()
    batch.s2_10m[0, 0, 0, 0], batch.s1[1, 1, 2, 3] = 0, S1_NODATA
    pixels = decode(batch)
    np.testing.assert_allclose(pixels.s2_20m, 0.1, rtol=1e-6)
    np.testing.assert_allclose(pixels.s2_10m[1], 0.25, rtol=1e-6)
    np.testing.assert_allclose(pixels.s1[0], -12.5, rtol=1e-6)
    assert np.argwhere(np.isnan(pixels.s2_10m)).tolist() == [[0, 0, 0, 0]]
    assert np.argwhere(np.isnan(pixels.s1)).tolist() == [[1, 2, 3, 1]]


def test_normalise_standardises_and_puts_the_mean_where_nothing_is_valid():
    normalisation = Normalisation(dict.fromkeys(BANDS, 0.05), dict.fromkeys(BANDS, 0.1))
    pixels = decode(stored_batch())
    pixels = pixels._replace(s2_10m=pixels.s2_10m.at[0, 0, 0, 0].set(jnp.nan))
    inputs = normalise(pixels, normalisation)
    np.testing.assert_allclose(inputs.s2_10m[1], 2.0, rtol=1e-5)
    assert inputs.s2_10m[0, 0, 0, 0] == 0.0
    assert inputs.available.all()


@pytest.mark.parametrize(
    "sensors, expected",
    [(("sentinel-1",), [False, False, True]), (("sentinel-2",), [True, True, False]), (SENSORS, [True, True, True])],
)
def test_keeping_a_sensor_hides_the_groups_of_the_other(sensors, expected):
    keep = np.tile([sensor in sensors for sensor in SENSORS], (2, 1))
    inputs = normalise(decode(stored_batch()), PLAIN, keep)
    np.testing.assert_array_equal(inputs.available, [expected, expected])
    assert group_mask(sensors).tolist() == expected


def test_a_sensor_without_a_valid_pixel_is_missing_and_the_last_one_is_never_hidden():
    batch = stored_batch()
    batch.s1[0] = S1_NODATA
    assert normalise(decode(batch), PLAIN).available.tolist() == [[True, True, False], [True, True, True]]
    only_radar = normalise(decode(batch), PLAIN, np.tile([True, False], (2, 1)))
    assert only_radar.available.tolist() == [[True, True, False], [False, False, True]]


def test_unknown_sensors_are_refused():
    with pytest.raises(ConfigError, match="landsat"):
        group_mask(("landsat",))
