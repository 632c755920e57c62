"""Errors of training and evaluation that a user can cause or cure."""

from collections.abc import Sequence
from typing import Any

from catalog.errors import DeepSentinelError


class ConfigError(DeepSentinelError):
    """Settings that do not fit each other, the corpus or the devices."""


class CheckpointError(DeepSentinelError):
    """A run folder that cannot be resumed, loaded or written to."""


class DivergedError(DeepSentinelError):
    """A loss or gradient that is no longer a finite number.

    Attributes:
        lines: metrics of the steps since the last report, the bad one among them.
    """

    def __init__(self, message: str, lines: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class CollapseError(DeepSentinelError):
    """Embeddings that are the same for every patch."""
