import numpy as np
import pyarrow as pa
import pytest

from dsjax.labels import FOLD, NEAR_FOLDS, SPLIT, UNKNOWN, block_split, crop_classes, splits_of

FOREST, CONIFERS, SEA = 23, 24, 44  # grid codes of 311, 312 and 523


def test_the_class_of_a_crop_is_what_covers_most_of_it():
    corine = np.full((1, 4, 4), SEA, "u1")
    corine[0, :2, :2] = [[FOREST, FOREST], [CONIFERS, SEA]]
    corine[0, 2:, 2:] = [[FOREST, FOREST], [SEA, SEA]]
    assert crop_classes(corine, 2, 0.6, level=2).tolist() == [[[31, 52], [52, UNKNOWN]]]
    assert crop_classes(corine, 2, 0.6, level=3).tolist() == [[[UNKNOWN, 523], [523, UNKNOWN]]]
    assert crop_classes(corine, 2, 0.6, level=1)[0, 0, 0] == 3


def test_unknown_pixels_are_no_class():
    assert crop_classes(np.zeros((1, 2, 2), "u1"), 2, 0.5, level=1).tolist() == [[[UNKNOWN]]]
    half = np.array([[[FOREST, FOREST], [0, 0]]], "u1")
    assert crop_classes(half, 2, 0.5, level=2).tolist() == [[[31]]]
    assert crop_classes(half, 2, 0.6, level=2).tolist() == [[[UNKNOWN]]]


def test_pixels_that_fill_no_crop_are_left_out():
    corine = np.full((1, 5, 5), SEA, "u1")
    assert crop_classes(corine, 2, 1.0, level=1).shape == (1, 2, 2)


def test_a_block_is_on_one_side_and_sides_have_their_shares():
    assert {block_split("EPSG:32633", 500_000 + x, 4_000_000 + y) for x in (0, 9_999) for y in (0, 9_999)} == {
        block_split("EPSG:32633", 500_000, 4_000_000)
    }
    sides = [block_split("EPSG:32633", 10_000 * i, 10_000 * j) for i in range(50) for j in range(50)]
    for name, share in (("train", 0.4), ("val", 0.2), ("test", 0.4)):
        assert abs(sides.count(name) / len(sides) - share) < 0.04


def test_blocks_split_a_corpus_that_states_no_split():
    edges = [[10_000.0 * i, 0.0, 10_000.0 * i + 2560, 2560.0] for i in range(6)]
    table = pa.table({"proj:code": ["EPSG:32631"] * 6, "proj:bbox": edges})
    expected = [block_split("EPSG:32631", 10_000 * i, 2560) for i in range(6)]
    assert splits_of(table).tolist() == expected


@pytest.mark.parametrize(
    "given, expected",
    [
        (["train", "val", "test"], ["train", "val", "test"]),
        (["train"] * 5 + ["test"], ["train", "train", "train", "val", "train", "test"]),
    ],
)
def test_a_split_of_the_corpus_is_kept_and_val_is_cut_from_train_where_missing(given, expected):
    assert splits_of(pa.table({SPLIT: given})).tolist() == expected


def folded(folds, near):
    """A corpus that trains on the patches with a fold, tests on the others but the last."""
    splits = ["train" if fold is not None else "test" for fold in folds[:-1]] + ["none"]
    columns = {FOLD: pa.array(folds, pa.int32()), NEAR_FOLDS: pa.array(near, pa.list_(pa.int32()))}
    return pa.table({SPLIT: splits, **columns})


def test_val_is_a_fold_of_the_corpus_and_its_neighbours_train_no_more():
    table = folded([0, 1, 2, 3, None, 0, 4, None], [None, [0, 3], [3], None, None, [2], None, None])
    assert splits_of(table).tolist() == ["val", "none", "train", "train", "test", "val", "train", "none"]
    kept = ["val", "train", "train", "train", "test", "val", "train", "none"]
    assert splits_of(table.drop_columns(NEAR_FOLDS)).tolist() == kept


def test_folds_of_too_few_blocks_leave_training_as_it_is():
    """All in one fold, or in none that is the first."""
    for fold in (0, 3):
        table = folded([fold] * 5 + [None, None], [None] * 7)
        assert splits_of(table).tolist() == ["train", "train", "train", "val", "train", "test", "none"]
