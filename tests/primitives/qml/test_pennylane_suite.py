"""PennyLane's own tests of devices: a part that takes seconds; the script runs them whole."""

import pytest
from support import pennylane_suite


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_part_of_pennylanes_device_tests_passes_cut():
    numbers, failed = pennylane_suite.run(["test_gates_with_expval"], max_width=2)
    assert failed == []
    assert numbers["passed"] >= 40
