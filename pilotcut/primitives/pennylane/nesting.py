"""Nested differentiation: whether somebody is about to differentiate a derivative.

PennyLane takes the device's derivatives as constants, so that a second derivative would be zero
without a word. Each interface shows in its own way that there is one to come.
"""

from __future__ import annotations

from pennylane.devices.execution_config import ExecutionConfig
from pennylane.exceptions import QuantumFunctionError
from pennylane.math import Interface


def check_first_order(config: ExecutionConfig | None) -> None:
    """Raise QuantumFunctionError if what is computed now would be differentiated again."""
    if config is not None and _is_nested(config.interface):
        raise QuantumFunctionError(
            "Device derivatives of pilotcut are first derivatives, and another one is asked for; "
            "use diff_method='parameter-shift' and max_diff=2 in the QNode"
        )


def _is_nested(interface: Interface) -> bool:
    if interface == Interface.TORCH:
        import torch

        return torch.is_grad_enabled()  # in a backward pass: with create_graph=True
    if interface == Interface.AUTOGRAD:
        from autograd.tracer import trace_stack

        return trace_stack.top >= 0  # ended, for all but an outer one
    return False
