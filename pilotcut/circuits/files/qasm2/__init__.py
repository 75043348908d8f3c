"""OpenQASM 2: what must be known around a program before Qiskit's parser can read it.

Owns includes, the version line, the meaning of gates without a definition, registers that are
called like gates, and how large all that may become. The grammar is Qiskit's.
"""

from pilotcut.circuits.files.qasm2.reading import read

__all__ = ["read"]
