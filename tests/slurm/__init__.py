"""Tests on a real Slurm: a cluster of four nodes on this machine, see slurm/testbed."""
