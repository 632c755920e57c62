import logging

import jax
import jax.numpy as jnp

from dsjax import compiler
from dsjax.compiler import compiler_options


def test_convolutions_on_a_processor_are_eigens():
    def compiled(options):
        axes = ("NHWC", "HWIO", "NHWC")
        convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=axes)  # noqa: E731
        arguments = jnp.ones((16, 32, 32, 64)), jnp.ones((3, 3, 64, 64))
        return jax.jit(convolve, compiler_options=options).lower(*arguments).compile().as_text()

    assert "__ynn_fusion" in compiled({}), "this XLA no longer takes YNNPACK: is the option still of use?"
    assert "__ynn_fusion" not in compiled(compiler_options("cpu"))
    assert compiler_options("gpu") == {}


def test_a_version_of_xla_without_the_option_trains_without_it(monkeypatch, caplog):
    monkeypatch.setattr(compiler, "_FOR_PROCESSORS", {"xla_cpu_of_another_version": "yes"})
    compiler_options.cache_clear()
    with caplog.at_level(logging.INFO):
        assert compiler_options("cpu") == {}
    compiler_options.cache_clear()
    assert "has no xla_cpu_of_another_version: steps may take longer" in caplog.text
