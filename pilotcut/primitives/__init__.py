"""Primitives: what users hold, and what turns their questions into batches.

estimator, auto_cuts
                `CutEstimator`, Qiskit's BaseEstimatorV2; plans for ``cuts="auto"``
gradient        `CutGradient`, for EstimatorQNN of Qiskit Machine Learning
derivative, higher_derivative
                derivatives through the contraction
qnn, circuit_function, torch_function
                `CutQNN`, a torch module; its numbers without torch, torch's rules without circuits
distribution, probabilities, parameter_values
                `Distribution`, questions to one by one call, and what callers give
"""
