"""Run folders: settings, corpus, metrics, checkpoints that resume exactly, and encoders loaded back from them."""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.experimental import multihost_utils

from catalog.corpus import Corpus
from catalog.errors import OutputExistsError
from dsjax import config as cfg
from dsjax.config import Pretrain
from dsjax.data import Normalisation
from dsjax.errors import CheckpointError, DivergedError
from dsjax.methods.simclr import SimCLR
from dsjax.models.resnet import ResNet
from dsjax.state import TrainState, split_model

_log = logging.getLogger(__name__)
_Record = TypeVar("_Record")


@dataclass(frozen=True)
class CorpusRecord:
    """Which corpus a model was trained on, and how its bands were normalised."""

    href: str
    version: str
    fingerprint: str
    patches: int
    """Patches trained on."""
    normalisation: Normalisation

    @classmethod
    def of(cls, corpus: Corpus) -> "CorpusRecord":
        """Record of a corpus, or of the selection to train on."""
        normalisation = Normalisation.of(corpus.statistics)
        return cls(corpus.href, corpus.version, corpus.fingerprint, len(corpus), normalisation)

    @classmethod
    def from_json(cls, text: str) -> "CorpusRecord":
        """Read what `run_folder` wrote."""
        raw = json.loads(text)
        return cls(**raw | {"normalisation": Normalisation(**raw["normalisation"])})


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


def _make_room(config: Pretrain) -> None:
    if config.out.is_file():
        raise OutputExistsError(f"{config.out} is a file; choose another --out")
    if config.out.is_dir() and any(config.out.iterdir()):
        if not (config.out / "config.json").is_file():
            raise OutputExistsError(f"{config.out} is not empty and holds no run; choose another --out")
        if not config.overwrite:
            raise OutputExistsError(
                f"{config.out} is not empty; add --resume to go on with the run there, --overwrite to delete it, "
                "or choose another --out"
            )
        shutil.rmtree(config.out)
    config.out.mkdir(parents=True, exist_ok=True)


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


@contextmanager
def checkpoint_manager(run: Path, keep: int) -> Iterator[ocp.CheckpointManager]:
    """The checkpoints of a run, newest `keep` kept. Writes before it returns: the state may be donated at once."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
    with ocp.CheckpointManager((run / "checkpoints").absolute(), options=options) as manager:
        yield manager


def save(manager: ocp.CheckpointManager, state: TrainState, loader_state: Any) -> None:
    """Write state and loader position; a step that is already there is left alone.

    Raises:
        DivergedError: the state holds numbers that are not finite; nothing is written.
    """
    step = int(state.step)
    if manager.latest_step() == step:
        return
    fetched = jax.device_get(state)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fetched)):
        raise DivergedError(
            f"the state after step {step} is not finite and was not saved; resume from the last checkpoint with a "
            "lower optimiser.learning_rate or in float32"
        )
    beside = {"state": loader_state, "weights_sha256": _digest(fetched.params, fetched.stats),
              "optimiser_sha256": _digest(fetched.opt_state)}  # fmt: skip
    arguments = ocp.args.Composite(state=ocp.args.StandardSave(state._asdict()), loader=ocp.args.JsonSave(beside))
    manager.save(step, args=arguments)


def _digest(*trees: Any) -> str:
    """SHA-256 over the bytes of all arrays: Orbax would load a flipped bit without a word."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def restore(manager: ocp.CheckpointManager, like: TrainState) -> tuple[TrainState, Any]:
    """Newest state, placed as `like` is, and the loader position that belongs to it.

    Raises:
        CheckpointError: there is no checkpoint yet, or the newest is damaged.
    """
    if manager.latest_step() is None:
        raise CheckpointError(f"{manager.directory} holds no checkpoint to resume; start again with --overwrite")
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
    restored = _restore_newest(manager, ocp.args.StandardRestore(abstract))
    state, beside = TrainState(**restored["state"]), restored["loader"]
    _check_digest(manager, beside.get("weights_sha256"), state.params, state.stats)
    _check_digest(manager, beside.get("optimiser_sha256"), state.opt_state)
    return state, beside["state"]


def _restore_newest(manager: ocp.CheckpointManager, state: ocp.args.CheckpointArgs) -> Any:
    arguments = ocp.args.Composite(state=state, loader=ocp.args.JsonRestore())
    try:
        return manager.restore(manager.latest_step(), args=arguments)
    except Exception as error:  # of damaged files Orbax raises no narrower type
        raise CheckpointError(_damage(manager, str(error).partition("\n")[0][:200])) from error


def _check_digest(manager: ocp.CheckpointManager, stated: str | None, *trees: Any) -> None:
    if stated is None:
        _log.warning("%s was saved without checksums by an older version: loaded unchecked", manager.directory)
    elif _digest(*jax.device_get(trees)) != stated:
        raise CheckpointError(_damage(manager, "the arrays are not those that were saved"))


def _damage(manager: ocp.CheckpointManager, reason: str) -> str:
    *earlier, step = sorted(manager.all_steps())
    cure = f"remove it to go back to step {earlier[-1]}" if earlier else "it is the only one: train again"
    return f"checkpoint {manager.directory / str(step)} is damaged, or of another model ({reason}); {cure}"


class TrainedEncoder(NamedTuple):
    """An encoder and what it takes to use it on new patches."""

    encoder: ResNet
    normalisation: Normalisation
    config: Pretrain


def load_encoder(run: Path) -> TrainedEncoder:
    """The encoder of the newest checkpoint of a run.

    Raises:
        CheckpointError: the folder is no run, holds no checkpoint, or a damaged one.
    """
    config = read_config(run)
    graphdef, params, stats = split_model(nnx.eval_shape(lambda: SimCLR(config, rngs=nnx.Rngs(config.seed))))
    with checkpoint_manager(run, config.keep) as manager:
        saved_params, saved_stats = _restore_weights(manager, params, stats)
    model = nnx.merge(graphdef, saved_params, saved_stats)
    return TrainedEncoder(model.encoder, read_corpus(run).normalisation, config)


def _restore_weights(manager: ocp.CheckpointManager, params: Any, stats: Any) -> tuple[Any, Any]:
    if manager.latest_step() is None:
        raise CheckpointError(f"{manager.directory} holds no checkpoint; train the run first")
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), {"params": params, "stats": stats}
    )
    weights = ocp.args.PyTreeRestore(
        abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
    )
    restored = _restore_newest(manager, weights)
    saved = restored["state"]["params"], restored["state"]["stats"]
    _check_digest(manager, restored["loader"].get("weights_sha256"), *saved)
    return saved
