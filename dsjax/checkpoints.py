"""Run folders: settings, corpus, metrics, checkpoints that resume exactly, and encoders loaded back from them."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from flax import nnx

from catalog.corpus import Corpus
from catalog.errors import OutputExistsError
from dsjax import config as cfg
from dsjax.config import Pretrain
from dsjax.data import Normalisation
from dsjax.errors import CheckpointError
from dsjax.methods.simclr import SimCLR
from dsjax.models.resnet import ResNet
from dsjax.state import TrainState, split_model


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
    """Make the run folder, or check that the one to resume is of the same settings and corpus.

    Raises:
        OutputExistsError: the folder holds a run and neither resume nor overwrite was asked for.
        CheckpointError: there is no run to resume, or settings or corpus have changed.
    """
    record = CorpusRecord.of(corpus)
    if config.resume:
        _check_resumable(config, record)
        return record
    if config.out.exists() and any(config.out.iterdir()):
        if not config.overwrite:
            raise OutputExistsError(
                f"{config.out} is not empty; add --resume to go on with the run there, --overwrite to delete it, "
                "or choose another --out"
            )
        shutil.rmtree(config.out)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.json").write_text(json.dumps(cfg.to_dict(config), indent=1))
    (config.out / "corpus.json").write_text(json.dumps(dataclasses.asdict(record), indent=1))
    return record


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
        CheckpointError: the folder is no run.
    """
    return cfg.from_dict(json.loads(_read(run, "config.json")))


def read_corpus(run: Path) -> CorpusRecord:
    """The corpus that a run trains on.

    Raises:
        CheckpointError: the folder is no run.
    """
    return CorpusRecord.from_json(_read(run, "corpus.json"))


def _read(run: Path, name: str) -> str:
    if not (run / name).is_file():
        raise CheckpointError(f"{run} is not a run folder: it has no {name}; give the --out of a pre-training run")
    return (run / name).read_text()


@contextmanager
def checkpoint_manager(run: Path, keep: int) -> Iterator[ocp.CheckpointManager]:
    """The checkpoints of a run, newest `keep` kept. Writes before it returns: the state may be donated at once."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
    with ocp.CheckpointManager((run / "checkpoints").absolute(), options=options) as manager:
        yield manager


def save(manager: ocp.CheckpointManager, state: TrainState, loader_state: Any) -> None:
    """Write state and loader position; a step that is already there is left alone."""
    step = int(state.step)
    if manager.latest_step() == step:
        return
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave(state._asdict()), loader=ocp.args.JsonSave({"state": loader_state})
    )
    manager.save(step, args=arguments)


def restore(manager: ocp.CheckpointManager, like: TrainState) -> tuple[TrainState, Any]:
    """Newest state, placed as `like` is, and the loader position that belongs to it.

    Raises:
        CheckpointError: there is no checkpoint yet.
    """
    step = manager.latest_step()
    if step is None:
        raise CheckpointError(f"{manager.directory} holds no checkpoint to resume; start again with --overwrite")
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
    arguments = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), loader=ocp.args.JsonRestore())
    restored = manager.restore(step, args=arguments)
    return TrainState(**restored["state"]), restored["loader"]["state"]


class TrainedEncoder(NamedTuple):
    """An encoder and what it takes to use it on new patches."""

    encoder: ResNet
    normalisation: Normalisation
    config: Pretrain


def load_encoder(run: Path) -> TrainedEncoder:
    """The encoder of the newest checkpoint of a run.

    Raises:
        CheckpointError: the folder is no run, or holds no checkpoint.
    """
    config = read_config(run)
    graphdef, params, stats = split_model(nnx.eval_shape(lambda: SimCLR(config, rngs=nnx.Rngs(config.seed))))
    with checkpoint_manager(run, config.keep) as manager:
        saved_params, saved_stats = _restore_weights(manager, params, stats)
    model = nnx.merge(graphdef, saved_params, saved_stats)
    return TrainedEncoder(model.encoder, read_corpus(run).normalisation, config)


def _restore_weights(manager: ocp.CheckpointManager, params: Any, stats: Any) -> tuple[Any, Any]:
    step = manager.latest_step()
    if step is None:
        raise CheckpointError(f"{manager.directory} holds no checkpoint; train the run first")
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), {"params": params, "stats": stats}
    )
    weights = ocp.args.PyTreeRestore(
        abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
    )
    restored = manager.restore(step, args=ocp.args.Composite(state=weights))["state"]
    return restored["params"], restored["stats"]
