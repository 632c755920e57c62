"""Where the time of a compiled step goes, from a trace of JAX's profiler and the program that was compiled."""

import gzip
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
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
    kinds = kinds_of(program)
    module = program.split(maxsplit=2)[1].rstrip(",")
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    ours = [event for event in events if event.get("args", {}).get("hlo_module") == module]
    seen = [(event["ts"], event["ts"] + event["dur"], event["name"]) for event in ours]
    found = by_the_clock([(start, end, kinds[name]) for start, end, name in until_read(seen, program)])
    return {group: round(found[group] / 1e3 / steps, 1) for group in GROUPS}


def until_read(seen: Sequence[tuple[float, float, str]], program: str) -> list[tuple[float, float, str]]:
    """What was seen, convolutions until an operation that reads them begins: Eigen's return before they are done."""
    readers = defaultdict[str, set[str]](set)
    for name, text in _INSTRUCTION.findall(program):
        for operand in re.findall(r"%([\w.-]+)(?=[,)])", text):
            readers[operand].add(name)
    handed_over = {name for name, text in _INSTRUCTION.findall(program) if " convolution(" in text}
    spans, waiting = [], dict[str, tuple[float, float]]()
    for start, end, name in sorted(seen):
        for read in [one for one in waiting if name in readers[one]]:
            began, returned = waiting.pop(read)
            spans.append((began, max(start, returned), read))
        if name in handed_over:
            waiting[name] = start, end
        else:
            spans.append((start, end, name))
    return spans + [(*times, name) for name, times in waiting.items()]


def by_the_clock(spans: Sequence[tuple[float, float, str]]) -> Counter[str]:
    """The time of each kind; all together is that from the first start to the last end.

    Time in which several run is shared among them; time in which none does, for fusions hand work to other threads,
    too, belongs to the one that began last.

    Args:
        spans: start, end and kind of what was seen.
    """
    edges = sorted(
        [(start, 0, number) for number, (start, _, _) in enumerate(spans)]
        + [(end, 1, number) for number, (_, end, _) in enumerate(spans)]
    )
    found, running, last = Counter[str](), dict[int, None](), 0
    for (now, ends, number), (then, _, _) in zip(edges, [*edges[1:], edges[-1]], strict=True):
        if ends:
            del running[number]
        else:
            running[number], last = None, number
        for one in running or (last,):
            found[spans[one][2]] += (then - now) / max(1, len(running))
    return found


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
        return FORWARD if "jvp(" in origin and "transpose(" not in origin else BACKWARD  # of some XLA drops the origin
    if re.search(r" (transpose|copy)\(", body):
        return LAYOUT
    return BETWEEN if "jvp" in origin else REST
