"""What the sandbox answers over HTTP: bytes in memory, or a slice of a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that fits in memory."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Promise the whole body, send half of it and hang up."""


@dataclass(frozen=True, slots=True)
class FileReply:
    """An answer read from disk as it is sent."""

    status: int
    path: Path
    start: int
    """First byte."""
    stop: int
    """One after the last byte."""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Promise the whole slice, send half of it and hang up."""
