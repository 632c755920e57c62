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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--split", "training"], "there is no split training; take"),
        (["--bbox", "5", "55", "15", "50"], "is no box"),
        (["--to", "found.csv"], "end it in .parquet"),
    ],
)
def test_a_wrong_value_ends_in_one_line(arguments, reason):
    done = run("-m", "deepsentinel", "search", "nowhere", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


RAISES = """
import errno
from catalog.program import reported_errors
with reported_errors():
    {}
"""


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "raise PermissionError(errno.EACCES, 'Permission denied', '/data')",
            "error: /data: Permission denied; give a place",
        ),
        ("raise OSError(errno.ENOSPC, 'No space left on device')", "error: the disk: No space left on device; give"),
        ("raise ModuleNotFoundError('x', name='sklearn.linear_model')", "pip install 'deepsentinel[train]'"),
        ("raise ModuleNotFoundError('x', name='stac_fastapi.api')", "pip install 'deepsentinel[serve]'"),
        ("raise ModuleNotFoundError('x', name='rasterio')", "pip install 'deepsentinel[ingest]'"),
    ],
)
def test_what_the_user_can_cure_has_no_traceback(statement, told):
    done = run("-c", RAISES.format(statement))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "statement", ["raise ModuleNotFoundError('x', name='catalog.typo')", "raise FileNotFoundError(2, 'x')"]
)
def test_bugs_keep_their_traceback(statement):
    assert "Traceback" in run("-c", RAISES.format(statement)).stderr


def test_an_unknown_word_lists_the_known_ones():
    done = run("-m", "deepsentinel", "destroy")
    assert done.returncode == 2
    assert "there is no program 'destroy'" in done.stderr
    assert all(word in done.stderr for word in deepsentinel.PROGRAMS)
