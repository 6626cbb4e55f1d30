"""Number of multiply-adds of a function, counted in its traced program."""

import math
from collections.abc import Callable

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params


def count(function: Callable[..., object], *args: object) -> int:
    """Multiply-adds of the convolutions and matrix products in a function of arrays (or of their shapes)."""
    return _of_program(jax.make_jaxpr(function)(*args).jaxpr)


def _of_program(program: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in program.eqns)


def _of_equation(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    shapes = [_shape(variable) for variable in equation.invars]
    out = math.prod(_shape(equation.outvars[0]))
    if name == "conv_general_dilated":
        axes = params["dimension_numbers"].rhs_spec  # output channels, input channels (of a group), rows, columns
        return out * math.prod(shapes[1][axis] for axis in axes[1:])
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return out * math.prod(shapes[0][axis] for axis in contracted)
    if name == "custom_vjp_call" and _is_depthwise(shapes):
        return out * math.prod(shapes[1][:2])
    inner = [_of_program(program) for program in jaxprs_in_params(params)]
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _shape(variable: Var | Literal) -> tuple[int, ...]:
    return variable.aval.shape  # type: ignore[attr-defined]


def _is_depthwise(shapes: list[tuple[int, ...]]) -> bool:
    """Whether the shapes are those of image (N, H, W, C) and kernel (kh, kw, C, 1) of `nn.depthwise`."""
    return [len(shape) for shape in shapes] == [4, 4] and shapes[1][2:] == (shapes[0][3], 1)
