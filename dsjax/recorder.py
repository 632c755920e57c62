"""What a run tells the world: a line of metrics.jsonl now and then, a progress bar, TensorBoard where asked for."""

import importlib.util
import json
import logging
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dsjax.errors import CollapseError, ConfigError

_log = logging.getLogger(__name__)

_LOG_LINES = 20  # at most, in a run without a terminal: a log file is read by people
# Projections this alike carry no information: about cosine 0.998 between any two patches.
COLLAPSED_SPREAD = 0.05


class Recorder:
    """Appends metrics to a run's metrics.jsonl and shows progress on stderr: a bar, or without a terminal
    about twenty lines a run.

    Lines after `first_step` are of steps that an interrupted run did after its last checkpoint: they are dropped,
    because those steps are done again. Of several processes only one `writes`; all watch for collapse.
    """

    def __init__(
        self, run: Path, first_step: int, last_step: int, warmup_steps: int,
        *, writes: bool = True, tensorboard: bool = False,
    ) -> None:  # fmt: skip
        self._path = run / "metrics.jsonl"
        self._warmup_steps = warmup_steps
        self._last_step, self._told_step = last_step, first_step
        self._writes = writes
        if writes:
            kept = [line for line in read_metrics(run) if line["step"] <= first_step] if self._path.exists() else []
            aside = self._path.with_suffix(".part")  # replaced at once: a kill in between must not lose lines
            aside.write_text("".join(json.dumps(line) + "\n" for line in kept))
            aside.replace(self._path)
        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
            console=Console(file=sys.stderr), disable=not (writes and sys.stderr.isatty()),
        )  # fmt: skip
        self._task = self._bar.add_task("", total=last_step, completed=first_step, told="")
        self._board = _open_board(run, first_step) if tensorboard and writes else None
        self._steps = range(first_step, first_step)  # of the latest line
        self._loss: float | None = None

    def __enter__(self) -> "Recorder":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Write one line.

        Raises:
            CollapseError: after the warm-up, the projections of different patches are the same.
        """
        self._steps, self._loss = range(self._steps.stop, step), metrics["loss"]
        if self._writes:
            self._tell(step, metrics)
        if step > self._warmup_steps and metrics["projection_spread"] < COLLAPSED_SPREAD:
            raise CollapseError(
                f"at step {step} projections have spread {metrics['projection_spread']:.3f} (1 is healthy, limit "
                f"{COLLAPSED_SPREAD:g}): the encoder gives every patch the same answer; lower "
                "optimiser.learning_rate, raise batch_size or method.temperature"
            )

    def comparable_loss(self, step: int, from_step: int) -> float | None:
        """Mean loss up to `step`; None where no line ends there, or the line began before `from_step`."""
        return self._loss if step == self._steps.stop and self._steps.start >= from_step else None

    def _tell(self, step: int, metrics: dict[str, float]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step} | metrics) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)
        told = (
            f"loss {metrics['loss']:.3f}, {metrics['steps_per_s']:.2f} steps/s, "
            f"input wait {metrics['input_wait_share']:.0%}"
        )
        self._bar.update(self._task, completed=step, told=told)
        if self._bar.disable and (step == self._last_step or (step - self._told_step) * _LOG_LINES >= self._last_step):
            _log.info("step %d of %d: %s", step, self._last_step, told)
            self._told_step = step


def require_tensorboard() -> None:
    """Raise ConfigError where tensorboardX is not installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise ConfigError("--tensorboard needs tensorboardX: pip install 'deepsentinel[tensorboard]'")


def _open_board(run: Path, first_step: int) -> Any:
    """A writer of TensorBoard events that hides those of steps that are done again."""
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Lines of a run's metrics.jsonl; a last line cut off by a crash is left out."""
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]
