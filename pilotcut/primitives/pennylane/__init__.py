"""PennyLane device: circuits of QNodes, cut.

device          `PilotcutDevice`, what ``qml.device("pilotcut")`` returns
preprocessing   what tapes become before they are run, and what is refused
reader, gates   tapes as Qiskit circuits, remembered by structure
measurements, sentences
                what tapes measure, as sums of Pauli strings
evaluator       tapes in, results and vector-Jacobian products out
cotangents      cotangents and derivatives in the shapes that PennyLane's interfaces have
sampler         distributions: wide probabilities, and samples
tapes           `from_tape`, for those who go on without the device
session         the pilots of a device, started when they are first needed

All that knows PennyLane is here; it refuses to know how circuits are cut and run.
"""
