"""pilotcut trains quantum neural networks whose circuits are too big for one device."""
