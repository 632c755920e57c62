"""The sandbox's programs: make an archive of scenes, serve it, or run a command against it."""

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from catalog.errors import DeepSentinelError, OutputExistsError
from catalog.program import program_name, reported_errors
from ingest.sandbox.faults import Faults
from ingest.sandbox.tokens import TTL_S

if TYPE_CHECKING:
    from ingest.sandbox.server import Sandbox

EXIT_NOT_FOUND, EXIT_SIGNAL = 127, 128  # as a shell reports a command that is missing, or ended by a signal


@dataclass(frozen=True)
class Archive:
    """Make an archive: scenes simulated on a procedural Earth, or given as folders of real pixels.

    Examples:

      python -m ingest.sandbox archive --simulate demo --out earth

      python -m ingest.sandbox archive --from terramesh bigearthnet --out real
    """

    out: Path
    """New folder for the archive."""
    simulate: str | None = None
    """Preset of the simulated Earth, such as "demo"."""
    seed: int = 0
    """Of the simulated Earth: another seed, another Earth."""
    workers: int = 1
    """Processes that simulate; the archive is the same with any number."""
    sources: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = ()
    """Folders of real pixels, in TerraMesh's or BigEarthNet's layout."""


@dataclass(frozen=True)
class Trouble:
    """How well the server behaves."""

    faults: Annotated[Faults, tyro.conf.arg(name="")] = field(default_factory=Faults)
    token_ttl_s: float = TTL_S
    """Life of a token, seconds."""
    latency_s: float = 0.0
    """Wait before every answer, seconds."""


@dataclass(frozen=True)
class Serve:
    """Serve an archive until Ctrl-C, and say which environment leads programs to it.

    Example: python -m ingest.sandbox serve earth --port 8123
    """

    archive: Annotated[Path, tyro.conf.Positional]
    """Folder of the archive."""
    port: int = 0
    """Port of 127.0.0.1; 0 for a free one."""
    trouble: Annotated[Trouble, tyro.conf.arg(name="")] = field(default_factory=Trouble)


@dataclass(frozen=True)
class Run:
    """Run a command with an archive in the place of the Planetary Computer; ends with the command's exit status.

    Example: python -m ingest.sandbox run earth -- deepsentinel build plan.parquet --out corpus
    """

    archive: Annotated[Path, tyro.conf.Positional]
    """Folder of the archive."""
    trouble: Annotated[Trouble, tyro.conf.arg(name="")] = field(default_factory=Trouble)
    command: tyro.conf.Suppress[tuple[str, ...]] = ()


def run(options: Archive | Serve | Run) -> int:
    """Do what the options say; returns the exit status of the program."""
    if isinstance(options, Archive):
        return make_archive(options)
    return serve(options) if isinstance(options, Serve) else run_command(options)


def make_archive(options: Archive) -> int:
    """Write an archive aside and put it in its place when it is whole.

    Raises:
        OutputExistsError: `out` exists.
        DeepSentinelError: neither or both of `simulate` and `sources`, or they cannot be made.
    """
    if bool(options.sources) == (options.simulate is not None):
        raise DeepSentinelError("say what the archive holds: either --simulate PRESET or --from DIR [DIR ...]")
    with _aside(options.out) as aside:
        if options.simulate is not None:
            from ingest.sandbox.simulate import simulate

            simulate(options.simulate, aside, seed=options.seed, workers=options.workers)
        else:
            from ingest.sandbox.real import write_real_archive

            write_real_archive(options.sources, aside)
    scenes = sum(1 for _ in (options.out / "items").glob("*/*.json"))
    sys.stdout.write(f"{options.out}: {scenes} scenes\n")
    return 0


def serve(options: Serve) -> int:
    """Serve until interrupted."""
    with _sandbox(options.archive, options.trouble, options.port) as sandbox:
        for name, value in sandbox.environ.items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def run_command(options: Run) -> int:
    """Run the command with the sandbox's environment; its exit status, 128 + n when signal n ended it."""
    if not options.command:
        raise DeepSentinelError("no command to run; put one behind --, as in: run ARCHIVE -- deepsentinel build ...")
    with _sandbox(options.archive, options.trouble) as sandbox:
        try:
            status = subprocess.run(options.command, env=os.environ | sandbox.environ, check=False).returncode
        except FileNotFoundError:
            sys.stderr.write(f"error: there is no command {options.command[0]}\n")
            return EXIT_NOT_FOUND
    return status if status >= 0 else EXIT_SIGNAL - status


def _sandbox(archive: Path, trouble: Trouble, port: int = 0) -> "Sandbox":
    from ingest.sandbox.server import Sandbox

    return Sandbox(
        archive, faults=trouble.faults, token_ttl_s=trouble.token_ttl_s, latency_s=trouble.latency_s, port=port
    )


@contextlib.contextmanager
def _aside(out: Path) -> Iterator[Path]:
    if out.exists():
        raise OutputExistsError(f"{out} exists; choose another --out or remove it")
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        yield aside
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, and end the process with the program's exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own = words[: words.index("--")] if "--" in words else words
    options = tyro.cli(Archive | Serve | Run, args=own, prog=program_name(), description=__doc__)
    if isinstance(options, Run):
        options = replace(options, command=tuple(words[len(own) + 1 :]))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with reported_errors():
        raise SystemExit(run(options))


if __name__ == "__main__":
    main()
