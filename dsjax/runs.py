"""Run folders: which settings, corpus and code a run has, and what happened to it."""

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

from catalog.corpus import Corpus
from catalog.errors import OutputExistsError
from dsjax import config as cfg
from dsjax.config import Pretrain
from dsjax.data import Normalisation
from dsjax.errors import CheckpointError

_Record = TypeVar("_Record")
_log = logging.getLogger(__name__)
_LOCK = ".lock"
_LIBRARIES = ("deepsentinel", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@dataclass(frozen=True)
class CorpusRecord:
    """Which corpus a model was trained on, and how its bands were normalised."""

    href: str
    version: str
    fingerprint: str
    patches: int
    """Patches trained on."""
    normalisation: Normalisation
    ids_sha256: str = ""
    """Of the ids of those patches, in their order; none in records of older versions."""

    @classmethod
    def of(cls, corpus: Corpus) -> "CorpusRecord":
        """Record of a corpus, or of the selection to train on."""
        normalisation = Normalisation.of(corpus.statistics)
        ids = hashlib.sha256("\n".join(corpus.table["id"].to_pylist()).encode()).hexdigest()
        return cls(corpus.href, corpus.version, corpus.fingerprint, len(corpus), normalisation, ids)

    @classmethod
    def from_json(cls, text: str) -> "CorpusRecord":
        """Read what `open_run` wrote."""
        raw = json.loads(text)
        return cls(**raw | {"normalisation": Normalisation(**raw["normalisation"])})


def code_versions() -> dict[str, str]:
    """Versions of what computes, and a checksum of this package's own modules."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return {name: importlib.metadata.version(name) for name in _LIBRARIES} | {"dsjax": digest.hexdigest()[:16]}


def open_run(config: Pretrain, corpus: Corpus) -> CorpusRecord:
    """Make the run folder (the first process does), or check that the one to resume is of the same settings and corpus.

    Raises:
        OutputExistsError: the folder holds a run and neither resume nor overwrite was asked for.
        CheckpointError: there is no run to resume, or settings or corpus have changed.
    """
    record = CorpusRecord.of(corpus)
    if config.resume:
        _check_resumable(config, record)
        return record
    if jax.process_index() == 0:
        _make_room(config)
        (config.out / "config.json").write_text(json.dumps(cfg.to_dict(config), indent=1))
        (config.out / "corpus.json").write_text(json.dumps(dataclasses.asdict(record), indent=1))
    multihost_utils.sync_global_devices("the run folder is made")  # does nothing where there is one process
    return record


@contextlib.contextmanager
def locked(config: Pretrain) -> Iterator[None]:
    """Keep the run folder from being trained in twice at once; the first process does.

    Raises:
        OutputExistsError: another run is training there.
    """
    run = config.out
    begins = not config.resume and not run.is_file() and not _entries(run)
    if jax.process_index() > 0 or not (begins or (run / "config.json").is_file()):
        yield  # nothing is locked where `open_run` will refuse what is there
        return
    run.mkdir(parents=True, exist_ok=True)
    with (run / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputExistsError(f"another process is training in {run}; wait for it or stop it") from error
        except OSError as error:
            _log.warning("%s cannot be locked (%s): do not train in it twice at once", run, error)
        yield


def note(run: Path, what: str, **details: Any) -> None:
    """Append a line to the run's events.jsonl: when, what, and whatever tells more."""
    if jax.process_index() == 0:
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (run / "events.jsonl").open("ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            cut = file.read() not in (b"", b"\n")  # by a crash: the line is ended, and left out when read
            file.write((("\n" if cut else "") + json.dumps({"time": when, "event": what} | details) + "\n").encode())


def read_events(run: Path) -> list[dict[str, Any]]:
    """What happened to a run; lines cut off by a crash are left out."""
    found = []
    for line in (run / "events.jsonl").read_text().split("\n"):
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def _make_room(config: Pretrain) -> None:
    if config.out.is_file():
        raise OutputExistsError(f"{config.out} is a file; choose another --out")
    if held := _entries(config.out):
        if not (config.out / "config.json").is_file():
            raise OutputExistsError(f"{config.out} is not empty and holds no run; choose another --out")
        if not config.overwrite:
            raise OutputExistsError(
                f"{config.out} is not empty; add --resume to go on with the run there, --overwrite to delete it, "
                "or choose another --out"
            )
        for entry in sorted(held, key=lambda entry: entry.name == "config.json"):  # last, so that it can be done again
            _remove(entry)
    config.out.mkdir(parents=True, exist_ok=True)


def _remove(entry: Path) -> None:
    """Remove a file or folder; of a link to a folder, which may lie on a larger disk, what it holds."""
    if entry.is_dir() and entry.is_symlink():
        for inner in entry.iterdir():
            _remove(inner)
    elif entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _entries(run: Path) -> list[Path]:
    """What lies in the folder, but for its lock; nothing where there is no folder."""
    return [entry for entry in run.iterdir() if entry.name != _LOCK] if run.is_dir() else []


def _check_resumable(config: Pretrain, record: CorpusRecord) -> None:
    saved, before = read_config(config.out), read_corpus(config.out)
    if changed := cfg.changed_fields(saved, config):
        listed = "; ".join(f"{name} was {old}, now {new}" for name, (old, new) in changed.items())
        raise CheckpointError(f"cannot resume {config.out}: {listed}; give the settings of {config.out}/config.json")
    if (before.fingerprint, before.patches) != (record.fingerprint, record.patches):
        raise CheckpointError(
            f"cannot resume {config.out}: it trains on {before.patches} patches of {before.href} with fingerprint "
            f"{before.fingerprint}, but {record.href} has {record.patches} with {record.fingerprint}; "
            "resume on the same corpus or start a new run"
        )
    if before.ids_sha256 not in ("", record.ids_sha256) or before.normalisation != record.normalisation:
        raise CheckpointError(
            f"cannot resume {config.out}: it trains on other patches of {before.href}, or in another order, than the "
            f"{record.patches} given; resume on the same subset and splits or start a new run"
        )


def read_config(run: Path) -> Pretrain:
    """Settings of a run.

    Raises:
        CheckpointError: the folder is no run, or one of another version.
    """
    return _read(run, "config.json", lambda text: cfg.from_dict(json.loads(text)))


def read_corpus(run: Path) -> CorpusRecord:
    """The corpus that a run trains on.

    Raises:
        CheckpointError: the folder is no run, or one of another version.
    """
    return _read(run, "corpus.json", CorpusRecord.from_json)


def _read(run: Path, name: str, parse: Callable[[str], _Record]) -> _Record:
    if not (run / name).is_file():
        raise CheckpointError(f"{run} is not a run folder: it has no {name}; give the --out of a pre-training run")
    try:
        return parse((run / name).read_text())
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{run / name} is damaged or of another version ({error!r}); use the version that wrote it, "
            "or start again with --overwrite"
        ) from error
