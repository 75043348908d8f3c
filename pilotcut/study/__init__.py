"""Studies: what was measured of the whole, question by question."""
