"""A step of our encoders beside the same model in PyTorch: same batch, float32, same threads, in turn in one run."""

import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro

LAYOUTS = ("eager", "channels_last")


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


class Peer:
    """A process that makes steps when told to."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=os.environ | environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told = self._answer()

    def measure(self, steps: int) -> tuple[float, float]:
        """Wall and CPU seconds of one step."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        wall_s, cpu_s = map(float, self._answer().split())
        return wall_s / steps, cpu_s / steps

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return answer


def serve(name: str, batch: int, side_px: int) -> None:
    """Be the peer that runs our encoder."""
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
    told = f"{count(params)} jax {jax.__version__}"
    for _ in range(2):
        state, metrics = step(state, inputs)
    jax.block_until_ready(metrics)
    sys.stdout.write(told + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            state, metrics = step(state, inputs)
        jax.block_until_ready((state, metrics))
        sys.stdout.write(f"{time.perf_counter() - wall} {time.process_time() - cpu}\n")
        sys.stdout.flush()


def compare(options: StepSpeed, name: str) -> dict[str, Any]:
    """Median seconds a step of each peer, and PyTorch's best over ours."""
    shape = [name, str(options.batch), str(options.side_px)]
    threads = {"OMP_NUM_THREADS": str(options.threads)}
    ours = Peer([sys.executable, "-m", "benchmarks.step_speed", "serve", *shape],
                {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": options.xla_flags})  # fmt: skip
    torch = [options.torch_python, str(Path(__file__).with_name("step_torch.py")), *shape, str(options.threads)]
    peers = {"dsjax": ours} | {f"torch {layout}": Peer([*torch, layout], threads) for layout in LAYOUTS}
    sizes = {peer.told.split()[0] for peer in peers.values()}
    if len(sizes) > 1:
        raise RuntimeError(f"the models of {name} differ: {sizes} parameters")
    times: dict[str, list[tuple[float, float]]] = {peer: [] for peer in peers}
    try:
        for _ in range(options.rounds):
            for peer in peers:
                times[peer].append(peers[peer].measure(options.steps))
    finally:
        for one in peers.values():
            one.close()
    wall, cpu = ({peer: round(statistics.median(pair[i] for pair in pairs), 4) for peer, pairs in times.items()}
                 for i in range(2))  # fmt: skip
    ratios = {unit: round(min(v for peer, v in found.items() if peer != "dsjax") / found["dsjax"], 3)
              for unit, found in (("wall", wall), ("cpu", cpu))}  # fmt: skip
    return {"parameters": int(sizes.pop()), "wall_s": wall, "cpu_s": cpu, "torch_best_over_dsjax": ratios,
            "versions": sorted({peer.told.split(" ", 1)[1] for peer in peers.values()})}  # fmt: skip


def run(options: StepSpeed) -> dict[str, Any]:
    """Compare each encoder, all peers on the same few cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    result = {"date": datetime.now(UTC).date().isoformat(), "command": "python -m benchmarks.step_speed",
              "machine": machine,
              "options": {k: v for k, v in dataclasses.asdict(options).items() if k not in ("torch_python", "out")},
              "encoders": {name: compare(options, name) for name in options.encoders}}  # fmt: skip
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> None:
    """Run, or be the peer that a run starts."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.stdout.write(json.dumps(run(tyro.cli(StepSpeed)), indent=1) + "\n")


if __name__ == "__main__":
    main()
