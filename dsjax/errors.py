"""Errors of training and evaluation that a user can cause or cure."""

from collections.abc import Sequence
from typing import Any

from catalog.errors import DeepSentinelError

WAY_OUT = (
    "what was trained since the last checkpoint is lost, and resuming would come to the same; start another run with a "
    "lower optimiser.learning_rate, with optimiser.clip_norm or in float32"
)
"""Of a run that diverged: settings that change what is computed cannot change on resuming."""


class ConfigError(DeepSentinelError):
    """Settings that do not fit each other, the corpus or the devices."""


class CheckpointError(DeepSentinelError):
    """A run folder that cannot be resumed, loaded or written to."""


class DivergedError(DeepSentinelError):
    """A loss, gradient or parameter that is no longer a finite number.

    Attributes:
        lines: metrics of the steps since the last report, the bad one among them.
    """

    def __init__(self, message: str, lines: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class CollapseError(DeepSentinelError):
    """Embeddings that are the same for every patch."""
