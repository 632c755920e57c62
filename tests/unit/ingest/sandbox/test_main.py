import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from catalog.errors import DeepSentinelError, OutputExistsError
from ingest.sandbox.__main__ import Archive, Run, main, make_archive, run_command
from ingest.sandbox.faults import Faults

# Prints how often a search fails in two, seen from a process under the sandbox.
SEARCH_TWICE = """
import json, os, urllib.request, urllib.error
for _ in range(2):
    body = json.dumps({"collections": ["sentinel-2-l2a"]}).encode()
    request = urllib.request.Request(os.environ["DEEPSENTINEL_STAC_URL"] + "/search", body)
    try:
        print(urllib.request.urlopen(request).status)
    except urllib.error.HTTPError as error:
        print(error.code)
        error.close()
"""


def python(*arguments: str) -> tuple[str, ...]:
    return sys.executable, *arguments


def exit_status(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


@pytest.mark.parametrize("status", [0, 7])
def test_run_ends_with_the_status_of_its_command(archive, status):
    command = python("-c", f"raise SystemExit({status})")
    assert exit_status("run", str(archive), "--", *command) == status


def test_run_tells_signals_and_missing_commands_as_a_shell_does(archive, capsys):
    assert run_command(Run(archive, command=python("-c", "import os; os.kill(os.getpid(), 15)"))) == 128 + 15
    assert run_command(Run(archive, command=("no-such-command",))) == 127
    assert "no-such-command" in capsys.readouterr().err


def test_run_leads_the_command_to_the_sandbox_with_its_faults(archive, capfd):
    words = ("run", str(archive), "--search-429-every", "2", "--", *python("-c", SEARCH_TWICE))
    assert exit_status(*words) == 0
    assert capfd.readouterr().out.split() == ["200", "429"]
    assert "DEEPSENTINEL_STAC_URL" not in os.environ


def test_run_needs_a_command(archive):
    with pytest.raises(DeepSentinelError, match="behind --"):
        run_command(Run(archive))


def test_everything_behind_the_dashes_belongs_to_the_command(archive, capfd):
    words = ("run", str(archive), "--", *python("-c", "import sys; print(sys.argv[1:])", "--token-reads", "--", "x"))
    assert exit_status(*words) == 0
    assert capfd.readouterr().out.strip() == "['--token-reads', '--', 'x']"


def test_serve_prints_the_environment_and_ends_on_interrupt(archive):
    command = python("-m", "ingest.sandbox", "serve", str(archive))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [next(process.stdout) for _ in range(6)]
        environ = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        assert environ["PC_SDK_SAS_URL"].endswith("/api/sas/v1/token")
        with urllib.request.urlopen(environ["DEEPSENTINEL_STAC_URL"]) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_archive_wants_one_kind_of_content(tmp_path):
    for options in (Archive(tmp_path / "a"), Archive(tmp_path / "a", simulate="demo", sources=(tmp_path,))):
        with pytest.raises(DeepSentinelError, match="either --simulate PRESET or --from DIR"):
            make_archive(options)


def test_archive_keeps_what_exists(tmp_path):
    with pytest.raises(OutputExistsError, match="choose another --out"):
        make_archive(Archive(tmp_path, sources=(tmp_path,)))


def test_archive_that_fails_leaves_nothing(tmp_path, capsys):
    source = tmp_path / "unknown"
    source.mkdir()
    assert exit_status("archive", "--from", str(source), "--out", str(tmp_path / "out")) == 2
    assert "is not a known layout" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


def test_archive_of_real_pixels(tmp_path, shared_data, capsys):
    real, source, out = shared_data / "bigearthnet_examples", tmp_path / "one", tmp_path / "out"
    (source / "S1").mkdir(parents=True)
    (source / "S2").symlink_to(real / "S2")
    site = next(iter(sorted((real / "S1").iterdir())))
    (source / "S1" / site.name).symlink_to(site)
    assert exit_status("archive", "--from", str(source), "--out", str(out)) == 0
    assert capsys.readouterr().out == f"{out}: 2 scenes\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "out"]
    facts = json.loads((out / "archive.json").read_text())
    assert facts == {"kind": "real", "sources": ["one"], "sites": 1}


def test_simulated_archive_passes_its_options_on(tmp_path, monkeypatch):
    seen = {}

    def simulate(preset: str, out: Path, **options: int) -> None:
        seen.update(options, preset=preset)
        (out / "items").mkdir(parents=True)

    monkeypatch.setattr("ingest.sandbox.simulate.simulate", simulate)
    make_archive(Archive(tmp_path / "out", simulate="demo", seed=3, workers=2))
    assert seen == {"preset": "demo", "seed": 3, "workers": 2}
    assert (tmp_path / "out" / "items").is_dir()


def test_help_shows_examples_without_heavy_imports():
    code = (
        "import sys; sys.argv = ['x', 'run', '--help']\n"
        "from ingest.sandbox.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'rasterio', 'shapely', 'planetary_computer', 'pyproj'} & set(sys.modules)))"
    )
    shown = subprocess.run(python("-c", code), capture_output=True, text=True, check=True).stdout
    assert "ingest.sandbox run earth -- deepsentinel build" in " ".join(shown.split())
    assert shown.endswith("[]\n")


def test_faults_are_the_same_in_both_programs():
    assert Run(Path("a")).trouble.faults == Faults()
