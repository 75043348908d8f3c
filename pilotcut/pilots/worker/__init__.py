"""Processes that run tasks: what a worker is made with, is sent and sends back.

The lowest floor of the pilots, below agents, MPI ranks and managers. Nothing here imports dask,
Qiskit or torch at once: a worker is ready as soon as it has these modules.
"""
