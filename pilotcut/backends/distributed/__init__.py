"""One state vector over MPI ranks: which qubits are global, kernels, values and gradients."""
