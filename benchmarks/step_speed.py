"""A step of our encoders beside the same model in PyTorch: same batch, float32, same threads, in turn in one run.

Then both are traced, to see where the time goes. Renews the table of docs/training.md.
"""

import dataclasses
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro

from benchmarks.pages import markdown_table, renewed

LAYOUTS = ("eager", "channels_last")
ONE_STEM = "one_stem"
"""PyTorch with channels last and the stem's three convolutions run as one, as ours are."""
_TRACED_STEPS = 3
_PLACES = ("torch_python", "out", "page")  # of this machine


@dataclass(frozen=True)
class StepSpeed:
    """Time steps of our encoders and of the same in PyTorch."""

    torch_python: str
    """An interpreter that has PyTorch."""
    encoders: tuple[str, ...] = ("resnet18", "resnet50")
    batch: int = 16
    """Views; twice as many as patches."""
    side_px: int = 128
    threads: int = 2
    rounds: int = 5
    """Measurements of each, in turn."""
    steps: int = 2
    """Of each measurement."""
    xla_flags: str = ""
    """For our side."""
    out: Path | None = None
    """Where to write the result (.json)."""
    page: Path | None = None
    """Page whose table is renewed, such as docs/training.md."""


class Peer:
    """A process that makes steps when told to."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=os.environ | environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told = self._answer()

    def measure(self, steps: int) -> tuple[float, float]:
        """Wall and CPU seconds of one step."""
        wall_s, cpu_s = map(float, self._ask(str(steps)).split())
        return wall_s / steps, cpu_s / steps

    def trace(self, steps: int) -> dict[str, float]:
        """Milliseconds a step of each group of operations."""
        found: dict[str, float] = json.loads(self._ask(f"profile {steps}"))
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _ask(self, question: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return answer


def serve(name: str, batch: int, side_px: int) -> None:
    """Be the peer that runs our encoder."""
    from benchmarks.step_trace import milliseconds

    run, program, told = make_steps(name, batch, side_px)
    run(2)
    answer(told)
    for line in sys.stdin:
        if line.startswith("profile"):
            steps = int(line.split()[1])
            answer(json.dumps(milliseconds(functools.partial(run, steps), program(), steps)))
        else:
            wall, cpu = time.perf_counter(), time.process_time()
            run(int(line))
            answer(f"{time.perf_counter() - wall} {time.process_time() - cpu}")


def answer(line: str) -> None:
    """Tell the process that asked."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def make_steps(name: str, batch: int, side_px: int) -> tuple[Callable[[int], None], Callable[[], str], str]:
    """What makes so many steps and waits for them, the program that they run, and what to tell of it."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from flax import nnx

    from dsjax.config import EncoderConfig
    from dsjax.data import Inputs
    from dsjax.losses import nt_xent
    from dsjax.models.resnet import ResNet
    from dsjax.state import count, init_state, split_model
    from dsjax.step import Method, Plan, make_train_step

    graphdef, params, stats = split_model(ResNet(EncoderConfig(name), rngs=nnx.Rngs(0)))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    shapes = ((side_px, 4), (side_px // 2, 8), (side_px, 2))
    images = (jnp.asarray(rng.standard_normal((batch, side, side, bands), np.float32)) for side, bands in shapes)
    inputs = Inputs(*images, jnp.ones((batch, 3), bool))
    halves = lambda z: (nt_xent(z[: batch // 2], z[batch // 2 :], 0.2), {})  # noqa: E731
    method = Method(lambda key, progress, batch: batch, lambda m, x: m(x, train=True).embedding, halves)
    tx = optax.adamw(1e-4)
    step = make_train_step(graphdef, tx, method, Plan(0, 100))
    state = init_state(params, stats, tx)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, inputs)
        jax.block_until_ready(state)

    return run, lambda: step.lower(state, inputs).compile().as_text(), f"{count(params)} jax {jax.__version__}"


def compare(options: StepSpeed, name: str) -> dict[str, Any]:
    """Median seconds a step of each peer, and PyTorch's over ours: the better layout, and the one stem."""
    shape = [name, str(options.batch), str(options.side_px)]
    threads = {"OMP_NUM_THREADS": str(options.threads)}
    ours = Peer([sys.executable, "-m", "benchmarks.step_speed", "serve", *shape],
                {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": options.xla_flags})  # fmt: skip
    torch = [options.torch_python, str(Path(__file__).with_name("step_torch.py")), *shape, str(options.threads)]
    peers = {"dsjax": ours} | {f"torch {layout}": Peer([*torch, layout], threads) for layout in (*LAYOUTS, ONE_STEM)}
    sizes = {peer.told.split()[0] for peer in peers.values()}
    if len(sizes) > 1:
        raise RuntimeError(f"the models of {name} differ: {sizes} parameters")
    times: dict[str, list[tuple[float, float]]] = {peer: [] for peer in peers}
    try:
        for _ in range(options.rounds):
            for peer in peers:
                times[peer].append(peers[peer].measure(options.steps))
        traces = {peer: peers[peer].trace(_TRACED_STEPS) for peer in peers}
    finally:
        for one in peers.values():
            one.close()
    wall, cpu = ({peer: round(statistics.median(pair[i] for pair in pairs), 4) for peer, pairs in times.items()}
                 for i in range(2))  # fmt: skip
    units = (("wall", wall), ("cpu", cpu))
    best = {
        unit: round(min(found[f"torch {layout}"] for layout in LAYOUTS) / found["dsjax"], 3) for unit, found in units
    }
    one_stem = {unit: round(found[f"torch {ONE_STEM}"] / found["dsjax"], 3) for unit, found in units}
    versions = sorted({peer.told.split(" ", 1)[1] for peer in peers.values()})
    return {"parameters": int(sizes.pop()), "wall_s": wall, "cpu_s": cpu,
            "torch_best_over_dsjax": best, "torch_one_stem_over_dsjax": one_stem,
            "traced_ms": traces, "versions": versions}  # fmt: skip


def run(options: StepSpeed) -> dict[str, Any]:
    """Compare each encoder, all peers on the same few cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    result = {"date": datetime.now(UTC).date().isoformat(), "command": "python -m benchmarks.step_speed",
              "machine": machine,
              "options": {k: v for k, v in dataclasses.asdict(options).items() if k not in _PLACES},
              "encoders": {name: compare(options, name) for name in options.encoders}}  # fmt: skip
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    if options.page is not None:
        page = renewed(options.page.read_text(), "benchmarks.step_speed", table_of(result))
        options.page.write_text(page)
    return result


def table_of(result: dict[str, Any]) -> str:
    """Milliseconds of each encoder by each library, in Markdown."""
    from benchmarks.step_trace import GROUPS

    sides = [
        (name, peer) for name in result["encoders"] for peer in ("dsjax", "torch channels_last", f"torch {ONE_STEM}")
    ]
    encoders = result["encoders"]
    rows = [
        *([group, *(str(round(encoders[name]["traced_ms"][peer][group])) for name, peer in sides)]
          for group in GROUPS),
        ["by the clock, untraced", *(str(round(1e3 * encoders[name]["wall_s"][peer])) for name, peer in sides)],
        ["CPU, untraced", *(str(round(1e3 * encoders[name]["cpu_s"][peer])) for name, peer in sides)],
    ]  # fmt: skip
    return markdown_table(["milliseconds a step", *(f"{name}, {peer}" for name, peer in sides)], rows)


def main() -> None:
    """Run, or be the peer that a run starts."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.stdout.write(json.dumps(run(tyro.cli(StepSpeed)), indent=1) + "\n")


if __name__ == "__main__":
    main()
