"""Languages of circuit files: OpenQASM 2, OpenQASM 3 and QPY; see `pilotcut.circuits.reader`."""
