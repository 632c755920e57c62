import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jax
import pytest

from catalog.splits import NONE, TEST, TRAIN, VAL
from dsjax import config, pretrain
from dsjax.errors import ConfigError
from dsjax.mesh import join_hosts, place


@pytest.mark.parametrize("name", config.PRESETS)
def test_a_preset_fits_itself_and_survives_a_round_trip(name):
    settings = pretrain.parse([name, "--corpus", "somewhere", "--out", "runs/x"])
    settings.check()
    assert config.from_dict(config.to_dict(settings)) == settings


def test_any_field_of_a_preset_can_be_changed():
    settings = pretrain.parse(
        ["demo", "--corpus", "c", "--out", "o", "--seed", "3", "--resume", "--augment.band-dropout.last", "0.2"]
    )
    demo = config.PRESETS["demo"][1]
    assert (settings.seed, settings.resume, settings.augment.band_dropout.last) == (3, True, 0.2)
    assert (settings.steps, settings.encoder) == (demo.steps, demo.encoder)


@pytest.mark.parametrize("program", ["pretrain", "evaluate"])
def test_help_imports_neither_jax_nor_scikit_learn(program):
    code = (
        f"import sys, dsjax.{program} as p\n"
        "try: p.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'jax', 'flax', 'grain', 'sklearn', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_only_settings_that_reach_a_parameter_count_as_changed():
    demo = config.PRESETS["demo"][1]
    saved = dataclasses.replace(demo, corpus="a", out="x")
    free = dataclasses.replace(saved, corpus="b", out="y", log_every=1, resume=True, reader_threads=9)
    free = dataclasses.replace(free, cache=Path("cache"), cache_gb=40.0, more_corpora=("d",))
    assert config.changed_fields(saved, free) == {}
    assert config.changed_fields(saved, dataclasses.replace(saved, steps=7)) == {"steps": (demo.steps, 7)}
    augment = dataclasses.replace(demo.augment, shift_px=config.Ramp(2, 8))
    changed = {"augment.shift_px.last": (32, 8)}
    assert config.changed_fields(saved, dataclasses.replace(saved, augment=augment)) == changed
    assert {field.name for field in dataclasses.fields(demo)} >= config.FREE_FIELDS


def test_splits_to_hold_out_are_those_of_the_corpus():
    assert set(get_args(config.Split)) == {TRAIN, VAL, TEST, NONE}


def test_a_ramp_that_ends_before_it_starts_is_refused():
    with pytest.raises(ConfigError, match="share"):
        config.Ramp(0.0, 1.0, start=0.5, end=0.5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps is 0"),
        ({"crop_px": 0}, "crop_px is 0"),
        ({"log_every": 0}, "log_every is 0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"keep": 0}, "keep is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"keep_best": -1}, "keep_best is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"reader_threads": -1}, "reader_threads is -1"),
        ({"stop_at_step": 0}, "stop_at_step is 0"),
        ({"keep_best": 1, "log_every": 20, "checkpoint_every": 50}, "checkpoint_every is 50.*take a multiple"),
        ({"hold_out": ("tests",)}, "hold_out names tests.*take of train, val, test, none"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"batch_size": 64, "accumulate": 3}, "accumulate=3 equal parts"),
        ({"hosts": config.HostsConfig("10.0.0.1:8476", 2, 0)}, "--multihost"),
        ({"optimiser": config.OptimiserConfig(warmup=1.0)}, "warmup is 1"),
        ({"optimiser": config.OptimiserConfig(clip_norm=0.0)}, "clip_norm is 0"),
        ({"optimiser": config.OptimiserConfig(ema=1.0)}, "ema is 1"),
        ({"method": config.SimCLRConfig(temperature=0.0)}, "temperature is 0"),
        ({"augment": config.AugmentConfig(shift_px=config.Ramp(2, 5))}, "even number"),
        ({"augment": config.AugmentConfig(shift_px=config.Ramp(-2, 4))}, "shift_px grows from -2 to 4; take 0 or more"),
        (
            {"augment": config.AugmentConfig(band_dropout=config.Ramp(0, 2))},
            "band_dropout grows from 0 to 2; take 0 to 1",
        ),
        ({"augment": config.AugmentConfig(s2_gain=-0.1)}, "s2_gain is -0.1"),
        ({"optimiser": config.OptimiserConfig(learning_rate=-1)}, "learning_rate is -1"),
        ({"optimiser": config.OptimiserConfig(learning_rate=float("nan"))}, "learning_rate is nan"),
        ({"optimiser": config.OptimiserConfig(weight_decay=-1)}, "weight_decay is -1"),
        ({"optimiser": config.OptimiserConfig(momentum=1)}, "momentum is 1"),
        ({"method": config.SimCLRConfig(cross_sensor=2)}, "cross_sensor is 2"),
        ({"method": config.SimCLRConfig(hidden_dim=0)}, "hidden_dim is 0"),
        ({"encoder": config.EncoderConfig(width=0)}, "width is 0"),
        ({"cache_gb": 0}, "cache_gb is 0"),
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"more_corpora": ("b", "b")}, "c, b, b: a corpus is given twice"),
    ],
)
def test_numbers_that_no_run_can_use_are_refused_at_once(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(config.PRESETS["demo"][1], corpus="c", out="o", **change).check()


def test_part_of_where_hosts_find_each_other_is_not_enough():
    with pytest.raises(ConfigError, match="all three, or none"):
        join_hosts(config.HostsConfig("10.0.0.1:8476", 2))


@pytest.mark.parametrize("process", [-1, 2])
def test_processes_count_from_nought(process):
    with pytest.raises(ConfigError, match=f"hosts.process is {process} of 2; they count from 0"):
        join_hosts(config.HostsConfig("10.0.0.1:8476", 2, process))


@pytest.mark.parametrize("words, reason", [(["tiny"], "no preset tiny"), (["--corpus", "c"], "no preset is given")])
def test_without_a_preset_the_presets_are_listed(words, reason):
    with pytest.raises(ConfigError, match=f"{reason}.*; take debug, demo, small, base, such as .* demo --corpus HREF"):
        pretrain.parse(words)


def test_a_batch_must_divide_among_devices_and_parts():
    with pytest.raises(ConfigError, match="not divisible by the 3 devices times 2 parts"):
        place(10, accumulate=2, devices=jax.devices() * 3)


def test_losses_compare_once_every_ramp_has_ended():
    settings = dataclasses.replace(config.PRESETS["demo"][1], steps=1000)
    assert settings.augmented_from_step == 300


def test_a_shift_that_shrinks_still_fits_its_window():
    augment = config.AugmentConfig(shift_px=config.Ramp(16, 2))
    assert dataclasses.replace(config.PRESETS["demo"][1], corpus="c", out="o", augment=augment).window_px == 64 + 16
