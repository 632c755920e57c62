"""How gradients move parameters: a schedule, a length limit, AdamW or LARS."""

from typing import Any

import jax
import optax

from dsjax.config import OptimiserConfig


def make_schedule(config: OptimiserConfig, steps: int) -> optax.Schedule:
    """Learning rate by step: a linear warm-up from zero, then as `config.schedule` says, to end after `steps`."""
    warmup, peak = max(1, round(config.warmup * steps)), config.learning_rate
    rest = max(1, max(2, steps) - warmup)
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest),
        "linear": lambda: optax.linear_schedule(peak, 0.0, rest),
        "constant": lambda: optax.constant_schedule(peak),
    }[config.schedule]()
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimiser(config: OptimiserConfig, steps: int) -> optax.GradientTransformation:
    """AdamW or LARS on a schedule; kernels alone decay, and LARS adapts the rate of them alone (You et al. 2017)."""
    schedule = make_schedule(config, steps)
    if config.name == "adamw":
        moved = optax.adamw(schedule, weight_decay=config.weight_decay, mask=is_kernel)
    else:
        moved = optax.lars(
            schedule, config.weight_decay, weight_decay_mask=is_kernel, trust_ratio_mask=is_kernel,
            momentum=config.momentum,
        )  # fmt: skip
    return moved if config.clip_norm is None else optax.chain(optax.clip_by_global_norm(config.clip_norm), moved)


def is_kernel(params: Any) -> Any:
    """Which leaves are weights of convolutions and linear layers, rather than biases, scales or tokens."""
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "key", None) == "kernel", params)
