"""Formulas of angles, as Qiskit writes them: their degree, and their second derivatives by torch.

Qiskit's own second derivatives will not do: in 2.6 some never end, of 1/((x-1)(x-2)) for example.
So the text of an expression is parsed and evaluated with torch, whose autograd differentiates
twice; where that formula and Qiskit's binding disagree, there is no derivative.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

if TYPE_CHECKING:  # torch is imported with the first second derivative; workers do without
    import torch

_CLOSE = 1e-9
_CONJUGATE = "conj"
_FUNCTIONS = {"sin", "cos", "tan", "exp", "log", "asin", "acos", "atan", "abs"}


def degree(expression: ParameterExpression, parameters: Sequence[Parameter]) -> int | None:
    """Return the degree of a polynomial with real coefficients; None for what is none."""
    tree = _parsed(expression, parameters)
    return None if tree is None else _degree(tree)


def second_derivatives(
    expression: ParameterExpression,
    parameters: Sequence[Parameter],
    rows: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """Return second derivatives (rows, parameters, parameters), nan where there are none.

    Parameters
    ----------
    expression, parameters
        The angle, and all parameters that it has.
    rows, values
        (rows, parameters), and what Qiskit binds the angle to there: where the formula has another
        value, nothing is said of its derivatives.
    """
    import torch

    unknown = np.full((*rows.shape, rows.shape[1]), np.nan)
    tree = _parsed(expression, parameters)
    if tree is None:
        return unknown
    with torch.enable_grad():  # a backward pass may be asking
        x = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
        try:
            found = _evaluated(tree, {_name(k): x[:, k] for k in range(rows.shape[1])})
        except KeyError:  # a function without derivatives, such as sign()
            return unknown
        found = found + 0 * (x * x).sum(dim=1)  # so that it is bent, if only by nothing
        (slopes,) = torch.autograd.grad(found.sum(), x, create_graph=True)
        bends = [
            torch.autograd.grad(slopes[:, k].sum(), x, retain_graph=True)[0]
            for k in range(rows.shape[1])
        ]
    right = np.abs(found.detach().numpy() - values) <= _CLOSE * (1 + np.abs(values))
    return np.where(right[:, None, None], torch.stack(bends, dim=1).numpy(), unknown)


def _name(number: int) -> str:
    return f"p{number}"


def _parsed(expression: ParameterExpression, parameters: Sequence[Parameter]) -> ast.expr | None:
    """Return Qiskit's text of an expression as a tree: its operators are those of Python."""
    plain = {p: Parameter(_name(k)) for k, p in enumerate(parameters)}
    try:
        return ast.parse(str(expression.subs(plain)), mode="eval").body
    except (SyntaxError, RecursionError):  # of complex numbers, or beyond all depth
        return None


def _degree(tree: ast.expr) -> int | None:
    match tree:
        case ast.Constant():
            return 0
        case ast.Name():
            return 1
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _degree(inner)
        case ast.Call(func=ast.Name(id="conj"), args=[inner]):
            return _degree(inner)
        case ast.BinOp(left=left, op=op, right=right):
            return _degree_of_two(_degree(left), op, _degree(right), right)
    return None


def _degree_of_two(
    left: int | None, op: ast.operator, right: int | None, power: ast.expr
) -> int | None:
    if left is None or right is None:
        return None
    match op:
        case ast.Add() | ast.Sub():
            return max(left, right)
        case ast.Mult():
            return left + right
        case ast.Div() if right == 0:
            return left
        case ast.Pow():
            times = power.value if isinstance(power, ast.Constant) else None
            return left * times if isinstance(times, int) and times > 0 else None
    return None


def _evaluated(tree: ast.expr, at: Mapping[str, torch.Tensor]) -> Any:
    """Return a formula of tensors; KeyError for a function that is not known."""
    import torch

    match tree:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return at[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_evaluated(inner, at)
        case ast.Call(func=ast.Name(id=name), args=[inner]):
            one = _evaluated(inner, at)
            # Parameters are real; Qiskit writes conj() into derivatives of abs().
            if name == _CONJUGATE:
                return one
            if name not in _FUNCTIONS:
                raise KeyError(name)
            return getattr(torch, name)(torch.as_tensor(one, dtype=torch.float64))
        case ast.BinOp(left=left, op=op, right=right):
            one, other = _evaluated(left, at), _evaluated(right, at)
            match op:
                case ast.Add():
                    return one + other
                case ast.Sub():
                    return one - other
                case ast.Mult():
                    return one * other
                case ast.Div():
                    return one / other
                case ast.Pow():
                    return one**other
    raise KeyError(type(tree).__name__)
