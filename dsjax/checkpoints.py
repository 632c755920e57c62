"""Checkpoints that resume exactly, on any number of devices, and encoders loaded back from them.

One checkpoint holds the state, and beside it as JSON the loader's position, checksums of every array, and the settings,
corpus and code it comes from. Reading is done by each process for itself, whole arrays on the host, checked before they
are put on devices: what wrote them does not matter.
"""

import dataclasses
import json
import logging
import math
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.experimental import multihost_utils

from dsjax import config as cfg
from dsjax.checksums import measure
from dsjax.config import Pretrain
from dsjax.data import Normalisation
from dsjax.errors import WAY_OUT, CheckpointError, DivergedError
from dsjax.methods.simclr import SimCLR
from dsjax.models.resnet import ResNet
from dsjax.recorder import read_metrics
from dsjax.runs import CorpusRecord, code_versions, note, read_config, read_corpus
from dsjax.state import TrainState, split_model

_log = logging.getLogger(__name__)

_SPARE_BYTES = 2**20  # beside the arrays: metadata, settings
_OLDER = "%s has no checksums that this version knows; an older one saved it: loaded unchecked"


class Checkpoints:
    """The checkpoints of a run that trains; leave its `with` block to have the last one on disk."""

    def __init__(self, manager: ocp.CheckpointManager, config: Pretrain, corpus: CorpusRecord) -> None:
        self._manager, self._run = manager, config.out
        self._origin = {
            "config": cfg.to_dict(config), "corpus": dataclasses.asdict(corpus), "code": code_versions(),
        }  # fmt: skip

    def save(self, state: TrainState, loader_state: Any, loss: float | None = None) -> None:
        """Copy state and loader position, and write them while training goes on; a step that is there is left alone.

        Args:
            loss: ranks this checkpoint among those to keep as best; None where it does not compare.

        Raises:
            DivergedError: the state holds numbers that are not finite; nothing is written.
            CheckpointError: there is no room for it, or the one before could not be written.
        """
        step = int(jax.device_get(state.step))
        if self._manager.latest_step() == step:
            return
        measured = measure(state._asdict())
        if bad := [path for path, found in measured.items() if not found.finite]:
            raise DivergedError(
                f"the state after step {step} is not finite ({bad[0]} and {len(bad) - 1} more arrays) and was not "
                f"saved; {WAY_OUT}"
            )
        sums = {path: found.checksum for path, found in measured.items()}
        beside = {"state": loader_state, "state_checksum": _sum(loader_state), "array_checksums": sums} | self._origin
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state._asdict()), loader=ocp.args.JsonSave(beside))
        with _writing(_folder(self._run), sum(leaf.nbytes for leaf in jax.tree.leaves(state))):
            self._manager.save(step, args=arguments, metrics={"loss": math.inf if loss is None else loss}, force=True)

    def wait(self) -> None:
        """Until everything is on disk.

        Raises:
            CheckpointError: it could not be written.
        """
        with _writing(_folder(self._run), 0):
            self._manager.wait_until_finished()


@contextmanager
def open_checkpoints(config: Pretrain, corpus: CorpusRecord) -> Iterator[Checkpoints]:
    """The checkpoints of a run: the newest `keep` and the `keep_best` of lowest loss stay.

    Raises:
        CheckpointError: the last one could not be written.
    """
    policies = ocp.checkpoint_managers
    kept = policies.AnyPreservationPolicy([
        policies.LatestN(config.keep),
        policies.BestN(get_metric_fn=_negative_loss, n=config.keep_best, keep_checkpoints_without_metrics=False),
    ])  # fmt: skip
    options = ocp.CheckpointManagerOptions(
        preservation_policy=kept, best_fn=_negative_loss, cleanup_tmp_directories=True
    )
    with ocp.CheckpointManager(_folder(config.out).absolute(), options=options) as manager:
        checkpoints = Checkpoints(manager, config, corpus)
        try:
            yield checkpoints
        finally:
            checkpoints.wait()


def _negative_loss(metrics: dict[str, float]) -> float:
    return -metrics["loss"]


@contextmanager
def _writing(folder: Path, nbytes: int) -> Iterator[None]:
    """Name the place, the room and the cure where a checkpoint cannot be written."""
    free = shutil.disk_usage(folder).free
    if nbytes and free < nbytes + _SPARE_BYTES:
        raise CheckpointError(
            f"no room for a checkpoint of {nbytes / 1e6:.1f} MB in {folder}: {free / 1e6:.1f} MB are free; the "
            "checkpoints that are there are whole: make room and go on with --resume"
        )
    try:
        yield
    except Exception as error:  # of a disk that is full or gone Orbax and its threads raise no narrower type
        raise CheckpointError(
            f"a checkpoint in {folder} could not be written ({_first_line(error)}); {free / 1e6:.1f} MB are free; the "
            "checkpoints before it are whole: cure the disk and go on with --resume"
        ) from error


@dataclass(frozen=True)
class Restored:
    """What a run goes on from."""

    state: TrainState
    """Host arrays."""
    loader_state: Any
    damaged: tuple[Path, ...]
    """Newer checkpoints that could not be read, where they lie now."""


def restore(run: Path, like: TrainState) -> Restored | None:
    """The newest checkpoint that is intact; those that are not are moved aside, with a warning that names each.

    Returns:
        None where the run has not come far enough to have one.

    Raises:
        CheckpointError: there is none though there should be, or the processes of a run do not see the same.
    """
    steps, faults = _steps(run), []
    while steps:
        try:
            arrays, beside = _read(run, steps[-1], like._asdict())
            break
        except CheckpointError as fault:
            faults.append((steps.pop(), fault))
    _agree(run, steps[-1] if steps else -1)
    if not steps and not faults and _is_young(run):
        return None
    if not steps:
        listed = "".join(f"; {fault}" for _, fault in faults) or ": there is none"
        raise CheckpointError(f"{_folder(run)} holds no checkpoint to resume{listed}; start again with --overwrite")
    moved = tuple(_set_aside(run, step, fault, steps[-1]) for step, fault in faults)
    if (code := beside.get("code", {})) and code != code_versions():
        _log.warning("step %d of %s is of other code (%s): going on may not be bit for bit", steps[-1], run, code)
    return Restored(TrainState(**arrays), beside["state"], moved)


def _is_young(run: Path) -> bool:
    """Whether a run may have no checkpoint yet: the second one waits until the first is on disk."""
    lines = read_metrics(run) if (run / "metrics.jsonl").is_file() else []
    return not lines or lines[-1]["step"] < 2 * read_config(run).checkpoint_every


def _agree(run: Path, step: int) -> None:
    if jax.process_count() > 1:
        seen = np.unique(multihost_utils.process_allgather(np.array(step))).tolist()
        if len(seen) > 1:
            raise CheckpointError(
                f"processes found checkpoints {seen} of {run} intact (-1: none); do they all see the same disk?"
            )


def _set_aside(run: Path, step: int, fault: CheckpointError, used: int) -> Path:
    """Move a damaged checkpoint out of the way of the one that training will write again."""
    damaged, number = run / "damaged" / str(step), 1
    while damaged.exists():
        number += 1
        damaged = run / "damaged" / f"{step}-{number}"
    if jax.process_index() == 0:
        damaged.parent.mkdir(exist_ok=True)
        shutil.move(_folder(run) / str(step), damaged)  # also where checkpoints/ leads to another disk
    _log.warning("CHECKPOINT LOST: %s; it is now %s, and training goes on from step %d", fault, damaged, used)
    note(run, "checkpoint lost", step=step, reason=str(fault), moved_to=str(damaged), resumed_from=used)
    multihost_utils.sync_global_devices(f"checkpoint {step} is set aside")
    return damaged


def _read(run: Path, step: int, like: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays of a checkpoint, those in `like` alone, on the host and checked; and what lies beside them."""
    folder = (_folder(run) / str(step)).absolute()
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), abstract)
    arguments = ocp.args.PyTreeRestore(abstract, restore_args=on_host, partial_restore=True)
    try:
        beside = json.loads((folder / "loader" / "metadata").read_text())
        arrays = ocp.PyTreeCheckpointHandler().restore(folder / "state", args=arguments)
    except Exception as error:  # of damaged files Orbax raises no narrower type
        raise CheckpointError(f"checkpoint {folder} is damaged, or of another model ({_first_line(error)})") from error
    _check(folder, arrays, like, beside.get("array_checksums"))
    if beside.get("state_checksum", _sum(beside.get("state"))) != _sum(beside.get("state")):
        raise CheckpointError(f"checkpoint {folder} is damaged: the position of the loader is not what was saved")
    return arrays, beside


def _sum(loader_state: Any) -> str:
    """Checksum of a loader's position, the same before and after JSON."""
    return f"{zlib.crc32(json.dumps(loader_state, sort_keys=True).encode()):08x}"


def _check(folder: Path, arrays: dict[str, Any], like: dict[str, Any], stated: dict[str, str] | None) -> None:
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays)]
    if shapes != [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(like)]:
        raise CheckpointError(f"checkpoint {folder} is of another model: its arrays have other shapes")
    if stated is None:
        _log.warning(_OLDER, folder)
        return
    changed = [path for path, found in measure(arrays).items() if stated.get(path) != found.checksum]
    if changed:
        raise CheckpointError(
            f"checkpoint {folder} is damaged: {changed[0]} and {len(changed) - 1} more arrays are not what was saved"
        )


def _folder(run: Path) -> Path:
    return run / "checkpoints"


def _steps(run: Path) -> list[int]:
    return sorted(ocp.utils.checkpoint_steps(_folder(run))) if _folder(run).is_dir() else []


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__


class TrainedEncoder(NamedTuple):
    """An encoder and what it takes to use it on new patches."""

    encoder: ResNet
    normalisation: Normalisation
    config: Pretrain


def load_encoder(run: Path | str) -> TrainedEncoder:
    """The encoder of the newest checkpoint of a run: its running mean where it keeps one.

    Raises:
        CheckpointError: the folder is no run, holds no checkpoint, or a damaged one.
    """
    run = Path(run)
    config = read_config(run)
    graphdef, params, stats = split_model(nnx.eval_shape(lambda: SimCLR(config, rngs=nnx.Rngs(config.seed))))
    weights = {"params": params, "stats": stats}
    saved = _read_weights(run, weights if config.optimiser.ema is None else {"ema": weights})
    model = nnx.merge(graphdef, *(jax.tree.map(jax.numpy.asarray, saved[name]) for name in ("params", "stats")))
    return TrainedEncoder(model.encoder, read_corpus(run).normalisation, config)


def _read_weights(run: Path, like: dict[str, Any]) -> dict[str, Any]:
    if not (steps := _steps(run)):
        raise CheckpointError(f"{_folder(run)} holds no checkpoint; train the run first")
    try:
        saved, _ = _read(run, steps[-1], like)
    except CheckpointError as fault:
        cure = f"resume the run to go back to step {steps[-2]}" if len(steps) > 1 else "it is the only one: train again"
        raise CheckpointError(f"{fault}; {cure}") from fault
    return saved.get("ema", saved)
