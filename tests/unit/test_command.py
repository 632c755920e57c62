"""The command `deepsentinel` and the promises every program keeps."""

import subprocess
import sys

import pytest

import deepsentinel


def run(*command):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("word", sorted(deepsentinel.PROGRAMS))
def test_every_program_has_help_under_both_names_and_loads_no_jax_for_it(word):
    module = deepsentinel.PROGRAMS[word][0]
    probe = f"""
import runpy, sys
sys.argv = [{module!r}, "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code
assert "jax" not in sys.modules, "the help of {module} imports JAX"
"""
    by_module, by_word = run("-c", probe), run("-m", "deepsentinel", word, "--help")
    assert by_module.returncode == 0, by_module.stderr
    assert by_word.returncode == 0, by_word.stderr
    assert f"deepsentinel {word}" in by_word.stdout
    assert len(by_word.stdout.splitlines()) == len(by_module.stdout.splitlines())


def test_an_unknown_word_lists_the_known_ones():
    done = run("-m", "deepsentinel", "destroy")
    assert done.returncode == 2
    assert "there is no program 'destroy'" in done.stderr
    assert all(word in done.stderr for word in deepsentinel.PROGRAMS)
