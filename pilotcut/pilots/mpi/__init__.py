"""MPI: pilots whose workers are ranks, and tasks whose ranks are started from a worker."""
