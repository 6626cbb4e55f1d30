"""Multiply-adds of a function, and bytes that it moves, counted in its traced program.

Only convolutions and matrix products are counted. Zeros that a convolution with a dilated input inserts, as that of a
gradient, cost nothing.
"""

import math
from collections.abc import Callable

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

#: Functions of `nn.depthwise`: images (N, H, W, C) with a kernel (kh, kw, C, 1), or to that of a gradient.
_DEPTHWISE = ("depthwise_sums", "depthwise_kernel_gradient")


def count(function: Callable[..., object], *args: object) -> int:
    """Multiply-adds of the convolutions and matrix products in a function of arrays (or of their shapes)."""
    return multiply_adds(jax.make_jaxpr(function)(*args).jaxpr)


def multiply_adds(program: Jaxpr) -> int:
    """Multiply-adds of the convolutions and matrix products in a program."""
    return _sum(program, _multiply_adds)


def bytes_moved(program: Jaxpr) -> int:
    """Bytes that the convolutions and matrix products of a program read and write, each operand once."""

    def moved(equation: JaxprEqn) -> int:
        avals = (variable.aval for variable in (*equation.invars, *equation.outvars))
        return sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in avals)  # type: ignore[attr-defined]

    return _sum(program, moved)


def _sum(program: Jaxpr, cost: Callable[[JaxprEqn], int]) -> int:
    return sum(_of_equation(equation, cost) for equation in program.eqns)


def _of_equation(equation: JaxprEqn, cost: Callable[[JaxprEqn], int]) -> int:
    """The cost of an equation, or of the programs in it."""
    name, params = equation.primitive.name, equation.params
    if name in ("conv_general_dilated", "dot_general") or _is_depthwise(equation):
        return cost(equation)
    inner = [_sum(program, cost) for program in jaxprs_in_params(params)]
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _multiply_adds(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    shapes = [_shape(variable) for variable in equation.invars]
    out = _shape(equation.outvars[0])
    if name == "conv_general_dilated":
        axes = params["dimension_numbers"].rhs_spec  # output channels, input channels (of a group), rows, columns
        window = math.prod(shapes[1][axis] for axis in axes[1:])
        return math.prod(out) * window // math.prod(params["lhs_dilation"])
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(out) * math.prod(shapes[0][axis] for axis in contracted)
    kernel = out if params["name"] == _DEPTHWISE[1] else shapes[1]
    return math.prod(shapes[0]) * math.prod(kernel[:2])


def _shape(variable: Var | Literal) -> tuple[int, ...]:
    return variable.aval.shape  # type: ignore[attr-defined]


def _is_depthwise(equation: JaxprEqn) -> bool:
    return equation.params.get("name") in _DEPTHWISE
