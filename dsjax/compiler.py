"""What XLA is told of how to compile a train step."""

import functools
import logging

import jax

_log = logging.getLogger(__name__)

_FOR_PROCESSORS = {
    # What jaxlib 0.10 gives to YNNPACK, but for convolutions: Eigen differentiates those by a kernel in half the time,
    # which makes a step of ResNet-18 half again as fast (docs/training.md).
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE",
}


@functools.cache
def compiler_options(platform: str) -> dict[str, str]:
    """What XLA is told of a train step; nothing where its version does not know the option."""
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_FOR_PROCESSORS).lower().compile()
    except jax.errors.JaxRuntimeError:
        _log.info("this version of XLA has no %s: steps may take longer", ", ".join(_FOR_PROCESSORS))
        return {}
    return _FOR_PROCESSORS
