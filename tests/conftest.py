"""Fixtures for every test: where the optional real data lie, and how properties are tried."""

import os
from pathlib import Path

import hypothesis
import pytest

# No deadline: tests say what is right, benchmarks how fast it is. The same examples in every run of CI.
hypothesis.settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("project")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pixels and recorded responses beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real data folder {SHARED_DATA}, which is not part of the repository")
    return SHARED_DATA
