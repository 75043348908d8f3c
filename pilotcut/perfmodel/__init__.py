"""Q-Dreamer: how many cuts, where, and on which pilot, before anything is run."""
