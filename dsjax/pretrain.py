"""Pre-train an encoder on patches without labels: `python -m dsjax.pretrain PRESET --corpus HREF --out RUN`."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

from catalog.program import program_name
from dsjax.config import PRESETS, Pretrain
from dsjax.errors import ConfigError
from dsjax.program import reported_errors, start_logging, use_compilation_cache

if TYPE_CHECKING:
    from catalog.corpus import Corpus
    from dsjax.checkpoints import Checkpoints
    from dsjax.data import Normalisation
    from dsjax.feed import DeviceFeed
    from dsjax.mesh import Placement
    from dsjax.state import TrainState
    from dsjax.step import TrainStep
    from dsjax.stop import StopRequest

_log = logging.getLogger("dsjax.pretrain")  # also where this module is the program

_HELP = """Pre-train an encoder on patches without labels. PRESET --help lists every setting.

For example:
    pretrain demo --corpus catalog/unlabelled --out runs/first
    pretrain demo --corpus catalog/unlabelled --out runs/first --resume
"""


@dataclass(frozen=True)
class RunSummary:
    """How a run ended."""

    out: Path
    step: int
    signum: int | None
    """The signal that ended it early."""


class Start(NamedTuple):
    """What a run begins with."""

    state: "TrainState"
    train_step: "TrainStep"
    placed: Any
    """Sharding of every array of the state."""


def run(config: Pretrain) -> RunSummary:
    """Train until the last step or a signal; the run folder can then be resumed or evaluated.

    Raises:
        DeepSentinelError: settings, corpus or run folder do not fit, or training diverged or collapsed.
    """
    import jax

    from dsjax.checkpoints import open_checkpoints
    from dsjax.contract import check_pixels
    from dsjax.data import open_corpora, training_batches
    from dsjax.feed import DeviceFeed
    from dsjax.mesh import join_hosts, place
    from dsjax.recorder import require_tensorboard
    from dsjax.runs import code_versions, locked, note, open_run
    from dsjax.stop import end_at_once_on_ctrl_c, stop_on_signals

    config.check()
    if config.tensorboard:
        require_tensorboard()
    if config.multihost:
        join_hosts(config.hosts)
        end_at_once_on_ctrl_c()
    use_compilation_cache(config.compilation_cache)
    corpus = training_rows(open_corpora(config), config.hold_out)
    check_pixels(corpus)
    placement = place(config.batch_size, config.accumulate)
    loader = training_batches(
        corpus, config.batch_size, config.window_px, config.seed, config.reader_threads, config.read
    )
    with locked(config):
        record = open_run(config, corpus)
        start = build(config, record.normalisation, placement)
        if config.resume:
            start = go_on(config.out, start, loader)
        note(config.out, "resumed" if config.resume else "started", step=int(jax.device_get(start.state.step)),
             devices=jax.device_count(), processes=jax.process_count(), code=code_versions())  # fmt: skip
        with (
            stop_on_signals() as stop,
            open_checkpoints(config, record) as checkpoints,
            DeviceFeed(loader, placement.batch) as feed,
        ):
            state = follow(config, corpus, start, feed, checkpoints, stop)
        step = int(jax.device_get(state.step))
        note(config.out, "ended", step=step, signal=stop.signum)
    return RunSummary(config.out, step, stop.signum)


def follow(
    config: Pretrain,
    corpus: "Corpus",
    start: Start,
    feed: "DeviceFeed",
    checkpoints: "Checkpoints",
    stop: "StopRequest",
) -> "TrainState":
    """Train to the end or to a stop, with everything that watches the steps.

    Raises:
        DivergedError: with the file that tells which patches were trained on.
        CollapseError: all patches get the same embedding.
        CheckpointError: a checkpoint could not be written.
    """
    import jax

    from dsjax.diverged import dumped_where_diverged
    from dsjax.loop import train
    from dsjax.order import reads_by_step
    from dsjax.profiling import Profiler
    from dsjax.recorder import Recorder

    last_step = min(config.steps, config.stop_at_step or config.steps)
    first_step, warmup = int(jax.device_get(start.state.step)), round(config.optimiser.warmup * config.steps)
    if first_step >= last_step:
        return start.state
    reads = reads_by_step(corpus, config.batch_size, config.seed, config.read)

    def rows_of(step: int) -> Any:
        return reads[(step - 1) // config.read.crops_per_read]

    with (
        Recorder(config.out, first_step, config.steps, warmup, writes=jax.process_index() == 0,
                 tensorboard=config.tensorboard) as recorder,
        Profiler(config.out / "profile" if config.profile else None, range(first_step, last_step)) as profiler,
        dumped_where_diverged(config.out, lambda step: corpus.table["id"].take(rows_of(step)).to_pylist()),
    ):  # fmt: skip

        def on_step(step: int, state: "TrainState") -> bool:
            profiler.on_step(step)
            ended = stop.agreed(step) or step >= last_step
            if ended or step % config.checkpoint_every == 0:
                loss = recorder.comparable_loss(step, config.augmented_from_step)
                checkpoints.save(state, feed.get_state(), loss)
            return ended

        return train(start.state, start.train_step, feed, config.steps, config.log_every, recorder.record, on_step)


def training_rows(corpus: "Corpus", hold_out: tuple[str, ...]) -> "Corpus":
    """The patches to train on: those whose split is not held out.

    Raises:
        ConfigError: none is.
    """
    import numpy as np

    from dsjax.labels import given_splits

    splits = given_splits(corpus.table)
    rows = [i for i, split in enumerate(splits) if split not in hold_out]
    if splits and not rows:
        found = ", ".join(f"{count} of {split}" for split, count in sorted(Counter(map(str, splits)).items()))
        raise ConfigError(
            f"{corpus.href}: no patch is left to train on: {found} are held out; give other patches or --hold-out"
        )
    return corpus.select(np.array(rows, np.int64))


def build(config: Pretrain, normalisation: "Normalisation", placement: "Placement") -> Start:
    """The state before the first step, on devices, and the compiled step."""
    import jax
    from flax import nnx

    from dsjax.mesh import place_state
    from dsjax.methods import simclr
    from dsjax.optimiser import make_optimiser
    from dsjax.state import count, init_state, split_model
    from dsjax.step import Plan, make_train_step

    def model() -> simclr.SimCLR:
        return simclr.SimCLR(config, rngs=nnx.Rngs(config.seed))

    def initial() -> "TrainState":
        _, params, stats = split_model(model())
        return init_state(params, stats, tx, ema=config.optimiser.ema is not None)

    graphdef, params, _ = split_model(nnx.eval_shape(model))
    tx = make_optimiser(config.optimiser, config.steps)
    placed = place_state(jax.eval_shape(initial), placement, sharded=config.shard_parameters)
    plan = Plan(config.seed, config.steps, config.accumulate, config.optimiser.ema)
    train_step = make_train_step(graphdef, tx, simclr.method(config, normalisation), plan, placed)
    _log.info("%s of width %g: %.2f million parameters", config.encoder.name, config.encoder.width, count(params) / 1e6)
    return Start(jax.jit(initial, out_shardings=placed)(), train_step, placed)


def go_on(run: Path, start: Start, loader: Any) -> Start:
    """The same with the state of the newest intact checkpoint, and the loader where it stood then.

    A run that ended before it had a checkpoint goes on from its start.
    """
    from dsjax.checkpoints import restore
    from dsjax.mesh import put

    restored = restore(run, start.state)
    if restored is None:
        _log.warning("%s has no checkpoint yet: it starts at the first step", run)
        return start
    loader.set_state(restored.loader_state)
    return start._replace(state=put(restored.state, start.placed))


def parse(arguments: Sequence[str] | None = None) -> Pretrain:
    """Settings from a command line: a preset, then what differs from it.

    Raises:
        ConfigError: the first word is no preset.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in PRESETS and not {"-h", "--help"} & set(words):
        given = f"there is no preset {words[0]}" if words[0][0] != "-" else "no preset is given before the options"
        raise ConfigError(f"{given}; take {', '.join(PRESETS)}, such as {program_name()} demo --corpus HREF --out RUN")
    config: Any = tyro.extras.overridable_config_cli(PRESETS, prog=program_name(), args=words, description=_HELP)
    return config


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, then run. Ends with 128 + signal where a signal ended training, so that schedulers know to resume."""
    with reported_errors("the same command with --resume goes on from the last checkpoint, or from the start"):
        config = parse(arguments)
        start_logging()
        summary = run(config)
    goes_on = "" if summary.step >= config.steps else "; --resume goes on"
    _log.info("step %d of %d is saved in %s%s", summary.step, config.steps, summary.out, goes_on)
    if summary.signum is not None:
        sys.exit(128 + summary.signum)


if __name__ == "__main__":
    main()
