"""Frozen evaluation on made-up patches, whose classes plain statistics already tell apart."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from catalog.bands import S1_NODATA
from catalog.corpus import Corpus
from dsjax import evaluate, pretrain
from dsjax.checkpoints import TrainedEncoder, load_encoder
from dsjax.crops import crop_batches, crops_a_side, embed, embedding_function, map_crops, prepare
from dsjax.data import SENSORS, Normalisation
from dsjax.errors import CheckpointError, ConfigError
from dsjax.floors import calibrate, crop_functions, image_statistics
from dsjax.labels import FOLD, NEAR_FOLDS, given_splits
from dsjax.metrics import METRICS, Estimate
from dsjax.models.resnet import ResNet
from dsjax.state import split_model
from tests.unit.dsjax.conftest import with_splits


@pytest.fixture(scope="module")
def trained(tiny_settings, tmp_path_factory) -> TrainedEncoder:
    """An encoder after one step."""
    settings = dataclasses.replace(tiny_settings, out=tmp_path_factory.mktemp("run"), stop_at_step=1)
    pretrain.run(settings)
    return load_encoder(settings.out)


def test_a_loaded_encoder_is_the_one_that_was_trained(trained):
    assert trained.config.stop_at_step == 1
    fresh = ResNet(trained.config.encoder, rngs=nnx.Rngs(0))
    old, new = (split_model(encoder) for encoder in (fresh, trained.encoder))
    assert jax.tree.structure(old[1:]) == jax.tree.structure(new[1:])
    assert any(not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (old[2], new[2])), strict=True))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_encoder(tmp_path)


def test_crops_come_in_order_and_the_padding_is_cut_off(labelled_corpus):
    part = labelled_corpus.select(np.arange(18))  # one full batch of 16 patches and two more
    corners = map_crops(lambda batch: batch.s1[:, :, 0, 0].astype("f4"), part, 16)
    stored = part.read(range(18), ["s1"])["s1"]
    np.testing.assert_array_equal(corners, np.moveaxis(stored, 1, -1)[:, ::16, ::16])
    assert len({batch.s1.shape for batch in crop_batches(part, 16)}) == 1


@pytest.mark.parametrize("crop_px", [0, 33, 128])
def test_crops_that_do_not_fit_are_refused(labelled_corpus, crop_px):
    with pytest.raises(ConfigError, match="patch side of 64 px"):
        crops_a_side(labelled_corpus, crop_px)


def test_embeddings_of_one_sensor_do_not_see_the_other(trained, labelled_corpus):
    part = labelled_corpus.select(np.arange(4))
    batch = next(crop_batches(part, 32))
    for sensors, name in ((("sentinel-1",), "s2_10m"), (("sentinel-2",), "s1")):
        function = embedding_function(trained.encoder, trained.normalisation, sensors)
        changed = batch._replace(**{name: getattr(batch, name) + getattr(batch, name).dtype.type(500)})
        np.testing.assert_array_equal(function(batch), function(changed))
    z = embed(trained, part)
    assert z.shape == (4, 2, 2, trained.encoder.dim)
    np.testing.assert_allclose(z.reshape(16, -1), embedding_function(*trained[:2], SENSORS)(batch), rtol=1e-5)


@pytest.mark.parametrize("sensors, name", [(("sentinel-1",), "s1"), (("sentinel-2",), "s2_10m")])
def test_a_sensor_without_a_valid_pixel_is_not_replaced_by_the_other(labelled_corpus, sensors, name):
    batch = next(crop_batches(labelled_corpus.select(np.arange(1)), 32))
    empty = np.zeros_like(batch.s2_20m), np.full_like(getattr(batch, name), S1_NODATA if name == "s1" else 0)
    batch = batch._replace(**{"s2_20m": empty[0], name: empty[1]})
    inputs = prepare(batch, Normalisation.of(labelled_corpus.statistics), sensors)
    assert not inputs.available.any()


def test_image_statistics_are_means_and_deviations_of_the_sensors_that_are_there(labelled_corpus):
    normalisation = Normalisation.of(labelled_corpus.statistics)
    batch = next(crop_batches(labelled_corpus, 32))
    found = np.asarray(image_statistics(batch, normalisation, ("sentinel-1",)))
    inputs = prepare(batch, normalisation, ("sentinel-1",))
    assert not found[:, : 2 * (4 + 8)].any()
    np.testing.assert_allclose(found[:, -4:-2], inputs.s1.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(found[:, -2:], inputs.s1.std((1, 2)), rtol=1e-4)


def test_image_statistics_leave_out_what_was_not_measured(labelled_corpus):
    normalisation = Normalisation.of(labelled_corpus.statistics)
    batch = next(crop_batches(labelled_corpus, 32))
    holed = batch._replace(s1=batch.s1.copy(), s2_20m=batch.s2_20m.copy())
    holed.s1[:, 0, :8], holed.s2_20m[:, 3] = -32768, 0
    found = np.asarray(image_statistics(holed, normalisation, SENSORS))
    valid = (batch.s1[:, 0, 8:] * 0.01 - normalisation.mean["VV"]) / normalisation.std["VV"]
    np.testing.assert_allclose(found[:, -4], valid.mean((1, 2)), atol=1e-4)
    np.testing.assert_allclose(found[:, -2], valid.std((1, 2)), rtol=1e-3)
    assert not found[:, [8 + 3, 8 + 8 + 3]].any()
    assert np.isfinite(found).all()


def test_calibration_changes_batch_statistics_alone_and_makes_both_modes_agree(trained, labelled_corpus):
    inputs = prepare(next(crop_batches(labelled_corpus, 32)), trained.normalisation, SENSORS)
    fresh = ResNet(trained.config.encoder, rngs=nnx.Rngs(0))
    calibrated = calibrate(fresh, [inputs] * 20)  # 80 passes: 0.9 ** 80 of the start is left
    jax.tree.map(np.testing.assert_array_equal, split_model(fresh)[1], split_model(calibrated)[1])
    np.testing.assert_allclose(
        calibrated(inputs, train=False).embedding, calibrated(inputs, train=True).embedding, atol=2e-2
    )


def test_the_floors_use_the_settings_of_the_run_but_none_of_its_weights(trained, labelled_corpus):
    functions = crop_functions(trained, labelled_corpus, 32, SENSORS)
    assert list(functions) == ["pretrained", "random", "statistics"]
    batch = next(crop_batches(labelled_corpus, 32))
    z = {name: np.asarray(function(batch)) for name, function in functions.items()}
    assert z["pretrained"].shape == z["random"].shape == (64, trained.encoder.dim)
    assert not np.allclose(z["pretrained"], z["random"])


def test_rare_and_unseen_classes_are_left_out(labelled_corpus, monkeypatch):
    crops = evaluate.labelled_crops(labelled_corpus, 32, 0.6, level=3)
    assert sorted(set(crops.labels.tolist())) == [112, 211, 312, 512]
    assert len(crops.labels) == len(crops.patches) == crops.used.sum() == 48 * 4
    np.testing.assert_array_equal(crops.patches, np.arange(48).repeat(4))
    monkeypatch.setattr(evaluate, "_MIN_TRAIN", 25)  # each class has 24 training crops
    with pytest.raises(ConfigError, match="fewer than two"):
        evaluate.labelled_crops(labelled_corpus, 32, 0.6, level=3)


def test_scores_cover_every_encoder_sensor_and_probe(trained, labelled_corpus, tmp_path, monkeypatch):
    def opened(href, columns):
        assert {FOLD, NEAR_FOLDS} < set(columns)  # else val would lie among the patches that train
        return labelled_corpus

    monkeypatch.setattr(Corpus, "open", opened)
    scores = evaluate.run(evaluate.Evaluate(trained.config.out, "fake", draws=50, level=3, out=tmp_path / "new/s.json"))
    assert len(scores.scores) == 3 * 3 * 2 * 3
    assert scores.crops == {"test": 48, "train": 96, "val": 48}
    assert scores.classes == {"112": 12, "211": 12, "312": 12, "512": 12}
    # the made-up classes differ in every band's mean, so statistics tell them apart without error
    for sensors in evaluate.SUBSETS:
        for probe in ("knn", "linear"):
            assert scores.find("statistics", sensors, probe).estimate.value == 1.0
    pretrained, floor = (scores.find(name, "s1", "knn") for name in ("pretrained", "statistics"))
    assert pretrained.gain is None
    np.testing.assert_allclose(floor.gain.value, pretrained.estimate.value - 1.0)
    assert 0 < scores.sensor_distance < 2
    assert floor.gain.low <= floor.gain.value <= floor.gain.high
    written = json.loads((tmp_path / "new/s.json").read_text())
    assert written["fingerprint"] == labelled_corpus.fingerprint
    assert written["scores"][0]["estimate"].keys() == {"value", "low", "high"}


def test_crops_without_a_val_are_refused(labelled_corpus):
    given = given_splits(labelled_corpus.table)
    splits = ["val" if i == 0 else "none" if split == "val" else split for i, split in enumerate(given)]
    corpus = with_splits(labelled_corpus, splits)
    assert set(evaluate.labelled_crops(corpus, 32, 0.6, level=3).splits) == {"train", "test", "val", "none"}
    corine = corpus.read(range(len(corpus)), ["corine"])["corine"]
    corine[0] = 0
    corpus.read = lambda rows, names: {"corine": corine[list(rows)]}
    with pytest.raises(ConfigError, match="in val"):
        evaluate.labelled_crops(corpus, 32, 0.6, level=3)


@pytest.mark.parametrize(
    ("crop_px", "level", "reason"), [(512, 2, "crop_px 512"), (32, 4, "level 4"), (32, 0, "level 0")]
)
def test_crops_and_classes_that_there_are_not_are_refused(labelled_corpus, crop_px, level, reason):
    with pytest.raises(ConfigError, match=reason):
        evaluate.labelled_crops(labelled_corpus, crop_px, 0.6, level)


def test_settings_without_sense_are_refused_and_nothing_is_made(labelled_corpus, tmp_path):
    for share in (0.0, 1.5):
        with pytest.raises(ConfigError, match="min_share is"):
            evaluate.labelled_crops(labelled_corpus, 32, share, 2)
    with pytest.raises(ConfigError, match="draws is 0"):
        evaluate.run(evaluate.Evaluate(tmp_path / "run", "c", draws=0))
    with pytest.raises(ConfigError, match="is a folder; give the name of a file in it"):
        evaluate.run(evaluate.Evaluate(tmp_path / "run", "c", out=tmp_path))
    with pytest.raises(ConfigError, match="seed -1"):
        evaluate.run(evaluate.Evaluate(tmp_path / "run", "c", seed=-1))
    with pytest.raises(CheckpointError, match="is not a run folder"):
        evaluate.run(evaluate.Evaluate(tmp_path / "run", "c"))
    assert not list(tmp_path.iterdir())


def test_the_table_fits_80_columns(monkeypatch, capsys):
    figure = Estimate(0.9123, 0.8901, 1.0)
    scores = tuple(
        evaluate.Score(encoder, "both", "linear", metric, figure, None if encoder == "pretrained" else figure)
        for encoder in ("pretrained", "statistics")
        for metric in METRICS
    )
    monkeypatch.setenv("COLUMNS", "80")
    evaluate.show(evaluate.Scores("run", "corpus", "f", {}, {}, scores, {}, 0.0))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "0.912 0.890..1.000  0.912  +0.912 +0.890..+1.000" in printed
    assert len(printed.strip().splitlines()) == 3


def test_a_corpus_without_labels_is_refused(labelled_corpus):
    labelled_corpus.arrays = ("s2_10m", "s2_20m", "s1", "scl")
    with pytest.raises(ConfigError, match="no corine array"):
        evaluate.labelled_crops(labelled_corpus, 32, 0.6, level=2)
