"""Errors of training and evaluation that a user can cause or cure."""

from catalog.errors import DeepSentinelError


class ConfigError(DeepSentinelError):
    """Settings that do not fit each other, the corpus or the devices."""


class CheckpointError(DeepSentinelError):
    """A run folder that cannot be resumed or loaded."""


class DivergedError(DeepSentinelError):
    """A loss or gradient that is no longer a finite number."""


class CollapseError(DeepSentinelError):
    """Embeddings that are the same for every patch."""
