"""OpenQASM 3: Qiskit's importer, with what files of other writers need beside it.

Owns the meaning of gates without a definition (Amazon Braket includes nothing and has names of its
own), inputs that are vectors, loops over constants, functions in angles, and how large all that
may become. Parsing is openqasm3's, conversion qiskit-qasm3-import's.
"""

from pilotcut.circuits.files.qasm3.importer import read

__all__ = ["read"]
