import dataclasses
import subprocess
import sys

import pytest

from dsjax import config, pretrain
from dsjax.errors import ConfigError


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
    assert config.changed_fields(saved, free) == {}
    assert config.changed_fields(saved, dataclasses.replace(saved, steps=7)) == {"steps": (demo.steps, 7)}
    assert {field.name for field in dataclasses.fields(demo)} >= config.FREE_FIELDS


def test_a_ramp_that_ends_before_it_starts_is_refused():
    with pytest.raises(ConfigError, match="share"):
        config.Ramp(0.0, 1.0, start=0.5, end=0.5)
