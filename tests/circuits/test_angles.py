"""Angles are what Qiskit binds them to, finite, and their derivatives those of differences."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector
from qiskit.quantum_info import Pauli, Statevector

from pilotcut import CutEstimator, CutGradient, compile_plan, cut_qnn, reconstruct_probabilities
from pilotcut.circuits import binding as binding_module
from pilotcut.circuits.binding import Binding
from pilotcut.errors import ParameterValueError, UserError

X, Y = Parameter("x"), Parameter("y")

#: Expressions of two parameters that are real at 0.2 to 0.9, and curved.
CURVED = [
    2**X,
    1.5 ** (X * Y),
    X * X / X,
    X.sign() * Y,
    X.abs() * Y,
    X**Y,
    X**0.5 + Y,
    (X / 2).arcsin() * Y,
    (X * Y).arccos(),
    X.arctan() - Y,
    X.tan() / Y,
    1 / X + 1 / Y,
    (X * Y + 1).log(),
    X.exp() * Y.sin(),
    (X - Y).abs(),
    X.conjugate() * Y,
    X * Y * X,
    (X.sin() ** 2).cos(),
]

#: Expressions of at most second degree: arrays, without Qiskit.
POLYNOMIAL = [X, -X, 2 * X + 1, X - Y / 3, (np.pi - X) * (np.pi - Y), X * X, X * X - Y * Y + X * Y]


def binding(*expressions):
    names = sorted({p.name for e in expressions for p in e.parameters})
    return Binding(names, expressions)


def rows(seed=1, count=3):
    return np.random.default_rng(seed).uniform(0.2, 0.9, (count, 2))


def bound(expression, row):
    at = {p: v for p, v in zip((X, Y), row, strict=True) if p in expression.parameters}
    return expression.bind_all(at)


@pytest.mark.parametrize("expression", [*CURVED, *POLYNOMIAL], ids=str)
def test_whatever_qiskit_binds_is_evaluated(expression):
    both = pickle.loads(pickle.dumps(binding(expression, X + Y)))
    found = both.slots(rows())
    np.testing.assert_allclose(found[:, 0], [bound(expression, row) for row in rows()])


@pytest.mark.parametrize("expression", [*CURVED, *POLYNOMIAL], ids=str)
def test_derivatives_are_those_of_differences(expression):
    one, values, h = binding(expression, X + Y), rows(), 1e-5
    if "sign" in str(expression):
        with pytest.raises(UserError, match=r"sign.* has no derivative by x that is known"):
            one.jacobian(values)
        return
    steps = h * np.eye(2)
    slopes = [(one.slots(values + s) - one.slots(values - s)) / (2 * h) for s in steps]
    np.testing.assert_allclose(one.jacobian(values), np.stack(slopes, -1), atol=1e-7)
    bends = [(one.jacobian(values + s) - one.jacobian(values - s)) / (2 * h) for s in steps]
    hessian = one.hessian(values)
    if hessian is None:
        hessian = np.zeros((3, 2, 2, 2))
    np.testing.assert_allclose(hessian, np.stack(bends, -1), atol=1e-6)


def test_linear_and_quadratic_angles_need_no_qiskit(monkeypatch):
    one = binding(*POLYNOMIAL)
    want = one.slots(rows())
    monkeypatch.setattr(binding_module, "_bound", None)
    np.testing.assert_array_equal(one.slots(rows()), want)
    assert one.jacobian(rows()).shape == (3, 7, 2)


def test_linear_angles_have_no_second_derivatives():
    assert binding(X, 2 * X + Y).hessian(rows()) is None


BAD = [
    (X.arcsin(), 1.5, "asin(x)"),
    (1 / X, 0.0, "1/x"),
    (X.log(), 0.0, "log(x)"),
    (X.log(), -1.0, "log(x)"),
    (X**0.5, -0.5, "x**0.5"),
    (X * X / X, 0.0, "x*x/x"),
    (2**X, 5000.0, "2**x"),
    (X.exp(), 1000.0, "exp(x)"),
    ((0.25 - X) ** 0.5, 0.5, "(0.25 - x)**0.5"),
]


@pytest.mark.parametrize("mode", ["exact", "sampled", "counts"])
@pytest.mark.parametrize(("expression", "value", "_written"), BAD[:4], ids=str)
def test_an_angle_that_is_not_finite_is_one_line_in_every_mode(mode, expression, value, _written):
    circuit = QuantumCircuit(2)
    circuit.rx(expression, 0)
    circuit.cx(0, 1)
    with pytest.raises(UserError) as caught:
        CutEstimator(mode=mode, labels="AB", shots=10).run([(circuit, "ZZ", [value])]).result()
    line = str(caught.value)
    assert "x = " in line
    assert str(expression) in line
    assert "\n" not in line
    with pytest.raises(UserError, match="no finite real number"):
        reconstruct_probabilities(compile_plan(circuit), [value], mode=mode)


@pytest.mark.parametrize(("expression", "value", "written"), BAD, ids=str)
def test_the_line_names_expression_parameter_value_and_row(expression, value, written):
    with pytest.raises(ParameterValueError) as caught:
        Binding(["x"], [expression]).slots(np.array([[0.25], [value]]))
    line = str(caught.value)
    assert written in line
    assert f"x = {value:.6g}" in line
    assert "row 1" in line


def test_networks_say_the_same_line_and_train_where_only_weights_are_smooth():
    circuit = QuantumCircuit(1)
    circuit.ry(X.sign(), 0)
    circuit.rx(Y, 0)
    qnn = cut_qnn(circuit, "Z", input_params=[X], weight_params=[Y], initial_weights=[0.4])
    out = qnn(torch.tensor([[0.3], [-0.7]]))
    want = np.cos(1) * np.cos(0.4)
    np.testing.assert_allclose(out.detach().numpy().ravel(), want, rtol=1e-5)
    out.sum().backward()
    assert float(qnn.weights.grad) == pytest.approx(-2 * np.cos(1) * np.sin(0.4), rel=1e-5)
    with pytest.raises(UserError, match="has no derivative by x"):
        qnn(torch.tensor([[0.3]], requires_grad=True)).sum().backward()


def test_a_slope_that_qiskit_gets_wrong_is_refused():
    """Qiskit 2.6: d abs(x**0.5) at -0.3 is 0.91 there, and -0.91 in truth."""
    one = Binding(["x"], [(X**0.5).abs()])
    np.testing.assert_allclose(one.jacobian(np.array([[0.3]])), [[[0.5 / 0.3**0.5]]])
    with pytest.raises(UserError, match="no derivative by x"):
        one.jacobian(np.array([[-0.3]]))
    np.testing.assert_allclose(one.hessian(np.array([[0.3]])), [[[[-0.25 / 0.3**1.5]]]])
    with pytest.raises(UserError, match="no second derivative"):
        one.hessian(np.array([[-0.3]]))


def test_an_angle_whose_second_derivative_qiskit_never_ends_is_read_and_bent():
    """In 2.6 gradient(x).gradient(x) of these hangs, and no signal gets through."""
    for expression in (1 / ((X - 1) * (X - 2)), ((X - 1) * (Y - 1)).abs(), (X * (X - 1)).sin()):
        one, values, h = binding(expression, X + Y), rows(), 1e-5
        bends = [
            (one.jacobian(values + s) - one.jacobian(values - s)) / (2 * h) for s in h * np.eye(2)
        ]
        np.testing.assert_allclose(one.hessian(values), np.stack(bends, -1), rtol=1e-6, atol=1e-6)


def test_a_slope_at_a_kink_or_a_pole_is_one_line():
    with pytest.raises(UserError, match=r"'abs\(x\)' has no derivative by x .* at x = 0"):
        Binding(["x"], [X.abs()]).jacobian(np.zeros((1, 1)))
    with pytest.raises(UserError, match=r"'x\*\*0.5' has no derivative"):
        Binding(["x"], [X**0.5]).jacobian(np.zeros((1, 1)))


def test_gradients_of_estimators_follow_curved_angles():
    circuit = QuantumCircuit(2)
    circuit.ry(2**X, 0)
    circuit.crx(1.5 ** (X * Y), 0, 1)
    circuit.ry(X * X / X, 1)
    for labels in (None, "AB"):
        gradient = CutGradient(CutEstimator(mode="exact", labels=labels))
        (found,) = gradient.run([circuit], [Pauli("ZZ")], [[0.4, 0.7]]).result().gradients

        def value(x, y):
            state = Statevector(circuit.assign_parameters({X: x, Y: y}))
            return state.expectation_value(Pauli("ZZ")).real

        h = 1e-5
        want = [
            (value(0.4 + h, 0.7) - value(0.4 - h, 0.7)) / (2 * h),
            (value(0.4, 0.7 + h) - value(0.4, 0.7 - h)) / (2 * h),
        ]
        np.testing.assert_allclose(found, want, atol=1e-8)


def test_a_gradient_by_some_parameters_asks_for_no_slope_of_others():
    circuit = QuantumCircuit(1)
    circuit.ry(X.sign(), 0)
    circuit.rx(Y, 0)
    gradient = CutGradient(CutEstimator(mode="exact"))
    job = gradient.run([circuit], [Pauli("Z")], [[0.3, 0.4]], parameters=[[Y]])
    assert job.result().gradients[0] == pytest.approx([-np.cos(1) * np.sin(0.4)])


def test_angles_that_cannot_be_hashed_are_read():
    """hash() of a negative constant of parameters is an OverflowError in Qiskit 2.6."""
    circuit = QuantumCircuit(1)
    circuit.rx(X / X * -1, 0)
    circuit.rx(X / X * -1 + Y, 0)
    found = CutEstimator(mode="exact").run([(circuit, "Z", [0.3, 0.5])]).result()[0].data.evs
    assert float(found) == pytest.approx(np.cos(-1.5))


@st.composite
def expressions(draw, depth=3):
    """Return an expression of x and y, or a number."""
    if depth == 0:
        return draw(st.sampled_from([X, Y, X, Y, 2, 0.5, -1]))
    one, other = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    kind = draw(st.sampled_from(["+", "*", "-", "/", "**", "f", "f", "f"]))
    try:
        if kind == "f" and isinstance(one, ParameterExpression):
            names = ["sin", "cos", "tan", "exp", "log", "arcsin", "arccos", "arctan", "abs", "sign"]
            return getattr(one, draw(st.sampled_from(names)))()
        if kind == "**":
            return one**other
        return {"+": one + other, "*": one * other, "-": one - other}.get(kind, one)
    except (ZeroDivisionError, OverflowError, TypeError, RuntimeError):
        return one


@settings(max_examples=150, deadline=None)
@given(expressions(), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_any_expression_is_its_value_and_its_slope_or_a_line(expression, x, y):
    if not isinstance(expression, ParameterExpression) or not expression.parameters:
        return
    one = binding(expression)
    values = np.array([[{"x": x, "y": y}[name] for name in one.names]])
    try:
        (found,) = one.slots(values)[0]
    except UserError:
        try:
            right = bound(expression, (x, y))
        except Exception:
            return
        assert isinstance(right, complex) or not np.isfinite(right)
        return
    assert found == pytest.approx(bound(expression, (x, y)), rel=1e-9, abs=1e-9)
    try:
        slopes = one.jacobian(values)[0, 0]
        for column, slope in enumerate(slopes):
            step = np.zeros((1, len(slopes)))
            step[0, column] = 1e-6
            low, high = one.slots(values - step).item(), one.slots(values + step).item()
            sides = np.array([found - low, high - found, (high - low) / 2]) / 1e-6
            large = 1 + abs(slope) + abs(found) * 1e-3
            if np.ptp(sides) < 1e-3 * large:  # else it bends too much for differences
                assert np.abs(sides - slope).min() < 1e-2 * large
    except UserError:
        return


def test_vectors_of_many_elements_keep_their_order():
    vector = ParameterVector("w", 12)
    circuit = QuantumCircuit(1)
    for number, parameter in enumerate(vector):
        circuit.rx(parameter * (number + 1), 0)
    found = CutEstimator(mode="exact").run([(circuit, "Z", np.arange(12) / 50)]).result()[0]
    want = np.cos(sum((k + 1) * k / 50 for k in range(12)))
    assert float(found.data.evs) == pytest.approx(want)
