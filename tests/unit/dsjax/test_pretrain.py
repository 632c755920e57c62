"""Whole runs, eight steps long: the same numbers whatever interrupts them or computes them."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from catalog.corpus import Corpus
from catalog.errors import OutputExistsError
from dsjax import checkpoints, config, pretrain, runs
from dsjax.errors import CheckpointError, ConfigError, DivergedError
from dsjax.labels import given_splits
from dsjax.program import use_compilation_cache
from dsjax.recorder import read_metrics
from dsjax.state import TrainState, split_model
from dsjax.stop import end_at_once_on_ctrl_c
from tests.unit.dsjax.conftest import with_splits

# What a run computes, without what it measures about the machine.
COMPUTED = ("step", "loss", "grad_norm", "embedding_spread", "projection_spread")
SCRIPT = """
import json, sys
from dsjax import config, pretrain
saved = config.from_dict(json.loads(sys.argv[1]))
if sys.argv[2] == "terminate-at-4":
    import os, signal
    from dsjax import loop
    add = loop._Window.add
    def add_and_signal(window, metrics):
        add(window, metrics)
        add_and_signal.steps += 1
        if add_and_signal.steps == 4:
            os.kill(os.getpid(), signal.SIGTERM)
    add_and_signal.steps = 0
    loop._Window.add = add_and_signal
summary = pretrain.run(saved)
print(json.dumps({"step": summary.step, "signum": summary.signum}))
"""


def parameters(run: Path) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(split_model(checkpoints.load_encoder(run).encoder)[1:])]


def computed(run: Path) -> list[dict[str, float]]:
    return [{name: line[name] for name in COMPUTED} for line in read_metrics(run)]


def in_another_process(settings: config.Pretrain, mode: str = "plain") -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(config.to_dict(settings)), mode],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory) -> config.Pretrain:
    """A run that nothing interrupted."""
    settings = dataclasses.replace(tiny_settings, out=tmp_path_factory.mktemp("whole"), checkpoint_every=4)
    assert pretrain.run(settings) == pretrain.RunSummary(settings.out, 8, None)
    return settings


def test_a_run_leaves_settings_corpus_metrics_and_a_checkpoint(whole):
    assert runs.read_config(whole.out) == whole
    record = runs.read_corpus(whole.out)
    assert (record.href, record.patches) == (whole.corpus, 48)
    assert [line["step"] for line in read_metrics(whole.out)] == [2, 4, 6, 8]
    assert all(0 <= line["input_wait_share"] <= 1 for line in read_metrics(whole.out))


def test_a_run_that_stopped_and_resumed_is_bit_identical(whole, tmp_path):
    first = dataclasses.replace(whole, out=tmp_path / "run", stop_at_step=3)
    assert pretrain.run(first).step == 3
    second = dataclasses.replace(first, stop_at_step=None, resume=True)
    assert pretrain.run(second).step == 8
    for one, two in zip(parameters(whole.out), parameters(second.out), strict=True):
        np.testing.assert_array_equal(one, two)
    assert computed(whole.out)[-2:] == computed(second.out)[-2:]


def test_sigterm_saves_and_the_resumed_run_is_bit_identical(whole, tmp_path):
    settings = dataclasses.replace(whole, out=tmp_path / "run")
    assert in_another_process(settings, "terminate-at-4") == {"step": 4, "signum": signal.SIGTERM}
    pretrain.run(dataclasses.replace(settings, resume=True))
    for one, two in zip(parameters(whole.out), parameters(settings.out), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_run_that_ended_before_its_first_checkpoint_goes_on_from_its_start(whole, tmp_path, caplog):
    run = shutil.copytree(whole.out, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint to resume: there is none"):  # though its metrics came to 8
        pretrain.run(dataclasses.replace(whole, out=run, resume=True))
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    for kept in (lines[:3], []):
        (run / "metrics.jsonl").write_text("".join(kept))
        assert pretrain.run(dataclasses.replace(whole, out=run, resume=True)).step == 8
        assert "no checkpoint yet" in caplog.text
        for one, two in zip(parameters(whole.out), parameters(run), strict=True):
            np.testing.assert_array_equal(one, two)
        shutil.rmtree(run / "checkpoints")


def test_ctrl_c_while_a_run_begins_ends_it_at_once(tiny):
    arguments = ["debug", "--corpus", tiny.corpus, "--out", str(tiny.out), "--compilation-cache", "None"]
    begun = subprocess.Popen([sys.executable, "-m", "dsjax.pretrain", *arguments], stderr=subprocess.PIPE, text=True)
    assert any("million parameters" in line for line in begun.stderr)
    begun.send_signal(signal.SIGINT)
    told = begun.communicate(timeout=60)[1]
    assert begun.returncode == 130, told
    assert told.endswith(
        "interrupted; the same command with --resume goes on from the last checkpoint, or from the start\n"
    )


def test_ctrl_c_ends_a_run_of_several_processes_whatever_it_waits_for(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    try:
        end_at_once_on_ctrl_c()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_corpus_of_held_out_patches_alone_is_told_from_an_empty_one(labelled_corpus):
    with pytest.raises(ConfigError, match=r"no patch is left to train on: 12 of test, 24 of train, 12 of val are held"):
        pretrain.training_rows(labelled_corpus, ("train", "test", "val"))


def test_an_existing_run_is_neither_overwritten_nor_resumed_unasked(whole):
    with pytest.raises(OutputExistsError, match="--resume"):
        pretrain.run(whole)


def test_a_run_is_not_resumed_with_other_settings_or_without_a_checkpoint(whole, tmp_path):
    with pytest.raises(CheckpointError, match="seed was 0, now 1"):
        pretrain.run(dataclasses.replace(whole, seed=1, resume=True))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        pretrain.run(dataclasses.replace(whole, out=tmp_path, resume=True))


def test_a_run_is_not_resumed_on_another_corpus(whole):
    settings = dataclasses.replace(whole, resume=True)
    path = whole.out / "corpus.json"
    text = path.read_text()
    path.write_text(text.replace(runs.read_corpus(whole.out).fingerprint, "another"))
    try:
        with pytest.raises(CheckpointError, match="fingerprint another"):
            pretrain.run(settings)
    finally:
        path.write_text(text)


def test_a_run_is_not_resumed_on_other_patches_of_the_same_corpus(whole, tmp_path):
    run = shutil.copytree(whole.out, tmp_path / "run")
    before = runs.read_corpus(run)
    corpus = Corpus.open(whole.corpus)
    orders = [runs.CorpusRecord.of(corpus.select(np.array(rows))) for rows in ([0, 1], [1, 0], [2, 3])]
    assert len({record.ids_sha256 for record in orders}) == 3
    assert len({record.fingerprint for record in orders}) == 1
    (run / "corpus.json").write_text((run / "corpus.json").read_text().replace(before.ids_sha256, orders[0].ids_sha256))
    with pytest.raises(CheckpointError, match="trains on other patches"):
        pretrain.run(dataclasses.replace(whole, out=run, resume=True))


def test_a_run_folder_is_trained_in_once_at_a_time(whole, tmp_path):
    run = shutil.copytree(whole.out, tmp_path / "run")
    for again in (
        dataclasses.replace(whole, out=run, resume=True),
        dataclasses.replace(whole, out=run, overwrite=True),
    ):
        with (
            runs.locked(dataclasses.replace(whole, out=run, resume=True)),
            pytest.raises(OutputExistsError, match="another process is training in"),
        ):
            pretrain.run(again)
    assert (run / "checkpoints/8").is_dir()
    assert pretrain.run(dataclasses.replace(whole, out=run, resume=True)).step == 8


def test_a_folder_that_holds_nothing_yet_is_locked_too(tiny):
    for prepare in (tiny.out.mkdir, (tiny.out / ".lock").touch):  # the second is what a run leaves that failed at once
        prepare()
        with (
            runs.locked(tiny),
            pytest.raises(OutputExistsError, match="another process is training in"),
            runs.locked(tiny),
        ):
            pass
    with pytest.raises(CheckpointError, match=r"config\.json"):
        pretrain.run(dataclasses.replace(tiny, resume=True))


def test_tensorboard_is_asked_for_before_anything_is_written(tiny, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"deepsentinel\[tensorboard\]"):
        pretrain.run(dataclasses.replace(tiny, tensorboard=True))
    assert not tiny.out.exists()


def test_a_run_that_has_come_to_where_it_should_stop_is_left_as_it_is(tiny):
    assert pretrain.run(dataclasses.replace(tiny, stop_at_step=2)).step == 2
    assert pretrain.run(dataclasses.replace(tiny, stop_at_step=2, resume=True)).step == 2
    assert pretrain.run(dataclasses.replace(tiny, stop_at_step=1, resume=True)).step == 2


def test_an_event_after_one_that_was_cut_off_stands_on_a_line_of_its_own(tmp_path):
    runs.note(tmp_path, "started", step=0)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": "2026')
    runs.note(tmp_path, "resumed", step=3)
    runs.note(tmp_path, "ended", step=4)
    assert [event["event"] for event in runs.read_events(tmp_path)] == ["started", "resumed", "ended"]


def test_an_event_that_was_cut_off_between_its_last_two_braces_is_left_out(tmp_path):
    runs.note(tmp_path, "started", code={"jax": "1"})
    text = (tmp_path / "events.jsonl").read_text()
    (tmp_path / "events.jsonl").write_text(text[:-2])
    runs.note(tmp_path, "resumed", step=3)
    assert [event["event"] for event in runs.read_events(tmp_path)] == ["resumed"]


def test_overwriting_empties_checkpoints_that_lie_on_another_disk(whole, tmp_path):
    run, large = shutil.copytree(whole.out, tmp_path / "run"), tmp_path / "large"
    shutil.move(run / "checkpoints", large)
    (run / "checkpoints").symlink_to(large)
    settings = dataclasses.replace(whole, out=run, overwrite=True, stop_at_step=2)
    assert pretrain.run(settings).step == 2
    assert (run / "checkpoints").is_symlink()
    assert [path.name for path in large.iterdir() if path.name.isdigit()] == ["2"]


def test_a_run_goes_on_where_compiled_programs_cannot_be_kept(tmp_path, caplog):
    (tmp_path / "file").touch()
    use_compilation_cache(tmp_path / "file" / "jax")
    assert "compiled programs are not kept" in caplog.text


def test_settings_that_do_not_parse_end_in_one_line(capsys):
    ramp = ["--augment.shift-px.start", "0.5", "--augment.shift-px.end", "0.4"]
    with pytest.raises(SystemExit) as ended:
        pretrain.main(["debug", "--corpus", "c", "--out", "o", *ramp])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_bits(path: Path) -> None:
    """One in every 256 bytes, so that weights and optimiser are hit wherever they lie in the file."""
    stored = bytearray(path.read_bytes())
    for i in range(len(stored) // 2 % 256, len(stored), 256):
        stored[i] ^= 1
    path.write_bytes(stored)


# In processes of their own: Orbax abandons its other reads when one fails, and their remains would trouble later tests.
LOAD = """
import dataclasses, sys
from pathlib import Path
from catalog.program import reported_errors
from dsjax.program import start_logging
from dsjax import checkpoints, pretrain, runs
run = Path(sys.argv[2])
start_logging()
with reported_errors():
    if sys.argv[1] == "load":
        checkpoints.load_encoder(run)
    else:
        pretrain.run(dataclasses.replace(runs.read_config(run), out=run, resume=True))
"""


@pytest.mark.parametrize("damage", [truncate, flip_bits, Path.unlink])
def test_a_damaged_checkpoint_is_not_loaded_and_a_resumed_run_falls_back_to_the_one_before(whole, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(whole.out, run)
    for path in list((run / "checkpoints/8/state").rglob("ocdbt.process_0/d/*")):
        damage(path)
    assert re.search(r"error: .*checkpoints/8 is damaged.*go back to step 4", outcome("load", run, 2))
    assert re.search(r"CHECKPOINT LOST: .*checkpoints/8 is damaged.*damaged/8.* step 4", outcome("resume", run, 0))
    lost = next(event for event in runs.read_events(run) if event["event"] == "checkpoint lost")
    assert (lost["step"], lost["resumed_from"]) == (8, 4)
    for one, two in zip(parameters(whole.out), parameters(run), strict=True):
        np.testing.assert_array_equal(one, two)


def test_where_every_checkpoint_is_damaged_each_is_named(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole.out, run)
    for step in (4, 8):
        (run / f"checkpoints/{step}/loader/metadata").write_text("{")
    with pytest.raises(CheckpointError, match=r"no checkpoint to resume.*checkpoints/8 is damaged.*checkpoints/4 is"):
        pretrain.run(dataclasses.replace(whole, out=run, resume=True))
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["4", "8"]


def outcome(what: str, run: Path, status: int) -> str:
    command = [sys.executable, "-c", LOAD, what, str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr


def test_a_state_that_is_not_finite_is_not_saved(tiny, tmp_path):
    record = runs.CorpusRecord.of(Corpus.open(tiny.corpus))
    state = TrainState(jnp.array(3), {"kernel": jnp.array([1.0, jnp.nan])}, {}, (), {})
    with (
        checkpoints.open_checkpoints(dataclasses.replace(tiny, out=tmp_path), record) as opened,
        pytest.raises(DivergedError, match=r"after step 3 .*kernel.* was not saved"),
    ):
        opened.save(state, {})
    assert not list((tmp_path / "checkpoints").iterdir())


def test_records_of_another_version_are_refused_in_one_line(whole, tmp_path):
    for name, text in (("config.json", '{"seed": 1'), ("config.json", '{"seed": 1}'), ("corpus.json", "{}")):
        run = tmp_path / "run"
        shutil.copytree(whole.out, run, dirs_exist_ok=True)
        (run / name).write_text(text)
        with pytest.raises(CheckpointError, match=rf"{name} is damaged or of another version"):
            pretrain.run(dataclasses.replace(whole, out=run, resume=True))


def test_a_folder_that_is_no_run_is_never_deleted(tiny):
    tiny.out.mkdir()
    (tiny.out / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match="holds no run"):
        pretrain.run(dataclasses.replace(tiny, overwrite=True))
    assert (tiny.out / "thesis.tex").exists()
    with pytest.raises(OutputExistsError, match="is a file"):
        pretrain.run(dataclasses.replace(tiny, out=tiny.out / "thesis.tex"))


def test_overwriting_starts_anew(tiny):
    tiny.out.mkdir()
    for name in ("config.json", "old"):
        (tiny.out / name).touch()
    pretrain.run(dataclasses.replace(tiny, overwrite=True, stop_at_step=1))
    assert not (tiny.out / "old").exists()


def test_held_out_splits_are_not_trained_on(labelled_corpus):
    kept = pretrain.training_rows(labelled_corpus, ("val", "test"))
    assert len(kept) == 24
    assert set(kept.table["deepsentinel:split"].to_pylist()) == {"train"}


def test_patches_near_testing_ones_or_of_held_out_classes_are_not_trained_on(labelled_corpus):
    splits = ["none" if split == "val" else split for split in given_splits(labelled_corpus.table)]
    kept = pretrain.training_rows(with_splits(labelled_corpus, splits), config.Pretrain("", Path()).hold_out)
    assert set(given_splits(kept.table)) == {"train"}


def test_settings_that_do_not_fit_are_refused_before_anything_is_written(tiny):
    for change, message in (
        ({"crop_px": 40}, "multiple of 32"),
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 64}, "48 patches"),
        ({"crop_px": 64}, "64 px"),
    ):
        with pytest.raises(ConfigError, match=message):
            pretrain.run(dataclasses.replace(tiny, **change))
    assert not tiny.out.exists()
