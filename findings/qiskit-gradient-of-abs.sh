#!/usr/bin/env bash
# Software: qiskit 2.6.2 (numpy 2.4.6).
# Expected: ParameterExpression.gradient is the derivative of the expression's own values. For
#   e = abs(x**0.5), that is sqrt(-x) left of 0, the slope at -0.3 is -0.5/sqrt(0.3) = -0.9129.
# Happens:  the sign is wrong. The derivative of abs(u) is taken as u*u'/abs(u), which holds for real
#   u only (it is Re(conj(u)*u')/abs(u) otherwise), and here it even comes out real.
# Output seen:
#   e = abs(x**0.5), gradient x**0.5*0.5*x**(-0.5)*1/abs(x**0.5)
#   at x =  0.3: gradient +0.9129, difference quotient +0.9129
#   at x = -0.3: gradient +0.9129, difference quotient -0.9129
# Why it matters: chain rules through angles of circuits (training) go uphill, and no value looks
#   odd: e is real, and so is its gradient.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q qiskit==2.6.2 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import sys
from qiskit.circuit import Parameter
x = Parameter("x")
e = (x**0.5).abs()
print(f"e = {e}, gradient {e.gradient(x)}")
def value(expression, at):
    number = complex(expression.bind({x: at}))
    if abs(number.imag) > 1e-12:
        sys.exit(f"CHANGED: {expression} is complex at {at}: {number}")
    return number.real
for at, right in ((0.3, True), (-0.3, False)):
    slope = (value(e, at + 1e-6) - value(e, at - 1e-6)) / 2e-6
    gradient = value(e.gradient(x), at)
    print(f"at x = {at:4}: gradient {gradient:+.4f}, difference quotient {slope:+.4f}")
    if abs(gradient - (slope if right else -slope)) > 1e-5:
        sys.exit("CHANGED: the gradient at -0.3 no longer is the slope with the wrong sign")
PY
