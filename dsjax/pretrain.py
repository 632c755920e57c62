"""Pre-train an encoder on patches without labels: `python -m dsjax.pretrain PRESET --corpus HREF --out RUN`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from catalog.program import program_name, reported_errors
from dsjax.config import PRESETS, Pretrain
from dsjax.program import start_logging, use_compilation_cache

if TYPE_CHECKING:
    from jax.sharding import Sharding

    from catalog.corpus import Corpus
    from dsjax.data import Normalisation
    from dsjax.loop import TrainStep
    from dsjax.state import TrainState

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """How a run ended."""

    out: Path
    step: int
    signum: int | None
    """The signal that ended it early."""


def run(config: Pretrain) -> RunSummary:
    """Train until the last step or a signal; the run folder can then be resumed or evaluated.

    Raises:
        DeepSentinelError: settings, corpus or run folder do not fit, or training diverged or collapsed.
    """
    import jax

    from catalog.corpus import Corpus
    from dsjax import checkpoints
    from dsjax.contract import check_pixels
    from dsjax.data import to_devices, training_batches
    from dsjax.loop import stop_on_signals, train
    from dsjax.mesh import place
    from dsjax.recorder import Recorder

    config.check()
    if config.multihost:
        jax.distributed.initialize()
    use_compilation_cache(config.compilation_cache)
    corpus = training_rows(Corpus.open(config.corpus), config.hold_out)
    check_pixels(corpus)
    placement = place(config.batch_size)
    loader = training_batches(corpus, config.batch_size, config.window_px, config.seed, config.reader_threads)
    record = checkpoints.open_run(config, corpus)
    state, train_step = build(config, record.normalisation, placement.replicated)
    with checkpoints.checkpoint_manager(config.out, config.keep) as manager, stop_on_signals() as stop:
        if config.resume:
            state, loader_state = checkpoints.restore(manager, state)
            loader.set_state(loader_state)

        def on_step(step: int, state: "TrainState") -> bool:
            ended = stop.signum is not None or step in (config.steps, config.stop_at_step)
            if ended or step % config.checkpoint_every == 0:
                checkpoints.save(manager, state, loader.get_state())
            return ended

        warmup = round(config.optimiser.warmup * config.steps)
        first = jax.process_index() == 0
        with Recorder(config.out, int(state.step), config.steps, warmup, writes=first) as recorder:
            batches = (to_devices(batch, placement.batch) for batch in loader)
            state = train(state, train_step, batches, config.steps, config.log_every, recorder.record, on_step)
    return RunSummary(config.out, int(state.step), stop.signum)


def training_rows(corpus: "Corpus", hold_out: tuple[str, ...]) -> "Corpus":
    """The patches to train on: those whose split is not held out."""
    import numpy as np

    from dsjax.labels import given_splits

    rows = [i for i, split in enumerate(given_splits(corpus.table)) if split not in hold_out]
    return corpus.select(np.array(rows, np.int64))


def build(config: Pretrain, normalisation: "Normalisation", sharding: "Sharding") -> "tuple[TrainState, TrainStep]":
    """The state before the first step, on devices, and the compiled step."""
    import jax
    from flax import nnx

    from dsjax.loop import make_optimiser, make_train_step
    from dsjax.methods import simclr
    from dsjax.state import count, init_state, split_model

    graphdef, params, stats = split_model(simclr.SimCLR(config, rngs=nnx.Rngs(config.seed)))
    tx = make_optimiser(config.optimiser, config.steps)
    views = partial(simclr.views, config=config, normalisation=normalisation)
    loss = partial(simclr.loss, temperature=config.method.temperature)
    train_step = make_train_step(graphdef, tx, views, loss, config.seed, config.steps)
    _log.info("%s of width %g: %.2f million parameters", config.encoder.name, config.encoder.width, count(params) / 1e6)
    return jax.device_put(init_state(params, stats, tx), sharding), train_step


def parse(arguments: Sequence[str] | None = None) -> Pretrain:
    """Settings from a command line: a preset, then what differs from it."""
    config: Any = tyro.extras.overridable_config_cli(PRESETS, prog=program_name(), args=arguments, description=__doc__)
    return config


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, then run. Ends with 128 + signal where a signal ended training, so that schedulers know to resume."""
    config = parse(arguments)
    start_logging()
    with reported_errors():
        summary = run(config)
    if summary.signum is not None:
        sys.exit(128 + summary.signum)


if __name__ == "__main__":
    main()
