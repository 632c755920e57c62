"""Where the time of a compiled step goes, from a trace of JAX's profiler and the program that was compiled."""

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

FORWARD, BACKWARD = "convolutions", "their derivatives"
BETWEEN = "batch normalisation, activations, pooling, sums"
LAYOUT = "passes that turn axes round"
REST = "optimiser and the rest"
GROUPS = (FORWARD, BACKWARD, BETWEEN, LAYOUT, REST)
"""Those of `benchmarks.step_torch`, too, where nothing turns axes round outside a convolution."""

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(\S+) \([^\n]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(\S+) = (.*)$", re.MULTILINE)


def milliseconds(run: Callable[[], Any], program: str, steps: int) -> dict[str, float]:
    """Milliseconds a step of each group.

    Raises:
        KeyError: the trace holds an operation that the program does not.

    Args:
        run: makes so many steps, and waits for them.
        program: the optimised HLO that they run, as text.
    """
    kinds, found = kinds_of(program), Counter[str]()
    module = program.split(maxsplit=2)[1].rstrip(",")
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    for event in events:
        if event.get("args", {}).get("hlo_module") == module:
            found[kinds[event["name"]]] += event["dur"] / 1e3 / steps
    return {group: round(found[group], 1) for group in GROUPS}


def kinds_of(program: str) -> dict[str, str]:
    """The group of every instruction of a program."""
    bodies = dict(_COMPUTATION.findall(program))
    return {name: _kind(text, bodies) for body in bodies.values() for name, text in _INSTRUCTION.findall(body)}


def _kind(instruction: str, bodies: dict[str, str]) -> str:
    called = re.search(r"calls=%?([^\s,]+)", instruction)
    body = bodies.get(called.group(1), "") if called else instruction
    stated = re.search(r'op_name="([^"]*)"', instruction)
    origin = stated.group(1) if stated else ""
    if re.search(r" (convolution|dot)\(", body):
        return BACKWARD if "transpose(" in origin else FORWARD
    if re.search(r" (transpose|copy)\(", body):
        return LAYOUT
    return BETWEEN if "jvp" in origin else REST
