"""The encoder of `dsjax.models.resnet` in PyTorch, to time a step of it. Runs in an environment that has PyTorch alone.

Reads a line from stdin for each measurement: a number of steps, answered with wall and CPU seconds of them; or
"profile" and a number of steps, answered with milliseconds a step of each group of operations, as JSON.
Usage: python step_torch.py ENCODER BATCH SIDE THREADS eager|channels_last|one_stem
"one_stem" is channels_last with the three convolutions of the stem run as one, as `dsjax.models.stem` does.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.nn import functional as f
from torch.profiler import ProfilerActivity, profile

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, *, deep: bool) -> None:
        super().__init__()
        outputs = 4 * width if deep else width
        shapes = ([(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)] if deep
                  else [(inputs, width, 3, stride), (width, width, 3, 1)])  # fmt: skip
        self.convs = nn.ModuleList([conv(*shape) for shape in shapes])
        self.norms = nn.ModuleList([nn.BatchNorm2d(shape[1]) for shape in shapes])
        changes = stride != 1 or inputs != outputs
        self.shortcut = (
            nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)) if changes else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i, (convolution, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(convolution(y))
            if i + 1 < len(self.convs):
                y = f.relu(y)
        return f.relu(y + self.shortcut(x))


class Encoder(nn.Module):
    """Three stems summed at 20 m, the published trunk, the mean of every stage."""

    def __init__(self, name: str, *, one_stem: bool) -> None:
        super().__init__()
        self.one_stem = one_stem
        deep = name == "resnet50"
        self.stems = nn.ModuleList([nn.Conv2d(4, 64, 6, 2, 2), nn.Conv2d(8, 64, 3, 1, 1), nn.Conv2d(2, 64, 6, 2, 2)])
        self.absent = nn.Parameter(0.02 * torch.randn(3, 64))
        self.norm = nn.BatchNorm2d(64)
        inputs, stages = 64, []
        for stage, (count, width) in enumerate(zip(BLOCKS[name], WIDTHS, strict=True)):
            blocks = []
            for i in range(count):
                blocks.append(Block(inputs, width, 2 if stage and not i else 1, deep=deep))
                inputs = 4 * width if deep else width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, images: list[torch.Tensor], available: torch.Tensor) -> torch.Tensor:
        x = self.stem_at_once(images, available) if self.one_stem else self.stem(images, available)
        x = f.max_pool2d(f.relu(self.norm(x)), 3, 2, 1)
        means = []
        for stage in self.stages:
            x = stage(x)
            means.append(x.mean((2, 3)))
        return torch.cat(means, 1)

    def stem(self, images: list[torch.Tensor], available: torch.Tensor) -> torch.Tensor:
        return sum(
            torch.where(available[:, i, None, None, None], stem(image), self.absent[i, None, :, None, None])
            for i, (stem, image) in enumerate(zip(self.stems, images, strict=True))
        )

    def stem_at_once(self, images: list[torch.Tensor], available: torch.Tensor) -> torch.Tensor:
        blocks, kernels = [], []
        for i, (stem, image) in enumerate(zip(self.stems, images, strict=True)):
            block, kernel = torch.where(available[:, i, None, None, None], image, 0), stem.weight
            if stem.stride[0] == 2:
                block = f.pixel_unshuffle(block, 2)
                kernel = kernel.unflatten(3, (3, 2)).unflatten(2, (3, 2)).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
            blocks.append(block)
            kernels.append(kernel)
        biases = torch.stack([stem.bias for stem in self.stems])
        constant = torch.where(available[:, :, None], biases, self.absent).sum(1)
        return f.conv2d(torch.cat(blocks, 1), torch.cat(kernels, 1), padding=1) + constant[:, :, None, None]


def nt_xent(z: torch.Tensor, temperature: float = 0.2) -> torch.Tensor:
    z = f.normalize(z)
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return f.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))


def kind_of(event: FunctionEvent) -> str:
    """The group of an operation, by the names of `benchmarks.step_trace`."""
    above, names = event, []
    while above is not None:
        names.append(above.name)
        above = above.cpu_parent
    if "convolution_backward" in event.name:
        return "their derivatives"
    if "conv" in event.name:
        return "convolutions"
    is_rest = any(name.startswith(("Optimizer.", "aten::mm")) for name in names)
    return "optimiser and the rest" if is_rest else "batch normalisation, activations, pooling, sums"


def milliseconds(step: Callable[[], None], steps: int) -> dict[str, float]:
    """Milliseconds a step of each group of operations."""
    found = Counter({"passes that turn axes round": 0.0})  # oneDNN turns them inside of a convolution
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(steps):
            step()
    for event in profiled.events():
        found[kind_of(event)] += event.self_cpu_time_total / 1e3 / steps
    return {group: round(taken, 1) for group, taken in found.items()}


def main() -> None:
    name, batch, side, threads, layout = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    memory = torch.contiguous_format if layout == "eager" else torch.channels_last
    model = Encoder(name, one_stem=layout == "one_stem").to(memory_format=memory).train()
    rng = np.random.default_rng(0)
    images = [
        torch.from_numpy(rng.standard_normal((batch, bands, side // by, side // by), np.float32)).to(
            memory_format=memory
        )
        for bands, by in ((4, 1), (8, 2), (2, 1))
    ]
    available = torch.ones(batch, 3, dtype=torch.bool)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        nt_xent(model(images, available)).backward()
        optimiser.step()

    step()
    step()
    sys.stdout.write(f"{sum(p.numel() for p in model.parameters())} torch {torch.__version__}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.startswith("profile"):
            sys.stdout.write(json.dumps(milliseconds(step, int(line.split()[1]))) + "\n")
            sys.stdout.flush()
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        sys.stdout.write(f"{time.perf_counter() - wall} {time.process_time() - cpu}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
