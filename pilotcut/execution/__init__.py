"""Execution of one batch: parameter values of a compiled plan in, an evaluation and a record out.

pubs            PUBs of Qiskit, as few batches for one plan each
batch_runner, batch_log
                the recipe of every batch; its random stream and its record
shot_allocation shots dealt by what they add to the error
work_units, batching
                what one task runs, and requests divided into such units
executor, streaming
                units run here or as tasks; complete rows handed on meanwhile
devices, device_assignment, reassignment
                pilots with a QPU, and which unit runs where, also once a pilot has ended
results, contraction_target
                evaluations; contraction in this process or on the ranks of an MPI pilot
query_store     batches on disk, and their reconstruction without an estimator
"""
