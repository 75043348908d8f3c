"""Training and inference on a fleet of unlike devices."""
