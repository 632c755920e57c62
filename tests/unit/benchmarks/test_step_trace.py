import jax
import jax.numpy as jnp
import pytest

from benchmarks.step_trace import BACKWARD, BETWEEN, FORWARD, GROUPS, kinds_of, milliseconds


@pytest.fixture(scope="module")
def step():
    """Loss and derivative of a convolution, the product of two matrices and a sum, compiled."""

    def loss(weights, x):
        kernel, matrix = weights
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.square(jnp.tanh(y).reshape(-1, 16) @ matrix).sum()

    weights, x = (jnp.ones((3, 3, 8, 16)), jnp.ones((16, 16))), jnp.ones((4, 32, 32, 8))
    compiled = jax.jit(jax.value_and_grad(loss)).lower(weights, x).compile()
    return compiled.as_text(), lambda: jax.block_until_ready(compiled(weights, x))


def test_what_runs_is_told_apart_by_the_program(step):
    program, run = step
    found = milliseconds(run, program, steps=1)
    assert tuple(found) == GROUPS
    assert min(found[FORWARD], found[BACKWARD], found[BETWEEN]) > 0
    assert set(kinds_of(program).values()) <= set(GROUPS)


def test_a_trace_of_another_program_is_not_counted_as_the_rest(step):
    program, run = step
    entry = program.index("ENTRY ")
    with pytest.raises(KeyError):
        milliseconds(run, program[:entry], steps=1)
