"""The conformance tests of the STAC API itself, run against every backend without a network."""

import json
import subprocess
import sys
from pathlib import Path

CLASSES = ("core", "collections", "features", "item-search", "filter")
AACHEN = {"type": "Polygon", "coordinates": [[[4, 51], [5, 51], [5, 52], [4, 52], [4, 51]]]}


def test_the_validator_of_the_stac_api_finds_no_error(api, shared_data):
    words = [word for name in CLASSES for word in ("--conformance", name)]
    command = [
        sys.executable, Path(__file__).with_name("validate_offline.py"), shared_data / "stac-schemas",
        "--root-url", f"{api}/api/", "--collection", "deepsentinel-labelled", "--geometry", json.dumps(AACHEN), *words,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "Validating STAC API - Item Search - Filter Extension - CQL2-JSON" in done.stdout
