import jax
import jax.numpy as jnp
import pytest

from benchmarks.step_trace import BACKWARD, BETWEEN, FORWARD, GROUPS, by_the_clock, kinds_of, milliseconds, until_read


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


def test_time_adds_up_to_the_clock():
    alone, handed_over, shared = (0, 4, "a"), (4, 5, "b"), [(9, 13, "a"), (11, 13, "c")]
    found = by_the_clock([alone, handed_over, *shared, (10, 10, "nothing")])
    assert found == {"a": 4 + 2 + 1, "b": 1 + 4, "c": 1, "nothing": 0}
    assert sum(found.values()) == 13


def test_a_convolution_lasts_until_it_is_read():
    program = """ENTRY %main {
  %x.1 = f32[8] parameter(0)
  %conv.1 = f32[8] convolution(%x.1, %x.1), window={size=3}
  %other.1 = f32[8] add(%x.1, %x.1)
  ROOT %sum.1 = f32[8] add(%conv.1, %other.1)
}"""
    seen = [(0, 1, "conv.1"), (2, 3, "other.1"), (7, 9, "sum.1")]
    both_steps = [*seen, *((start + 10, end + 10, name) for start, end, name in seen)]
    spans = sorted(until_read(both_steps, program))
    assert spans[:3] == [(0, 7, "conv.1"), (2, 3, "other.1"), (7, 9, "sum.1")]
    assert spans[3:] == [(10, 17, "conv.1"), (12, 13, "other.1"), (17, 19, "sum.1")]
