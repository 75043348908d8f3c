"""Reading files of circuits: OpenQASM 2, OpenQASM 3 and QPY; see `pilotcut.circuits.reader`."""
