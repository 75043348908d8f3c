"""Training and inference on a fleet of unlike QPUs, after ArbiterQ (DAC 2025).

transpile, device_gates, routing, gate_translation
                a model's circuit on a device, gate by gate
device_features, similarity, torus
                the behavioural vector of that, and which devices are alike or unlike
models, shifts, noisy_gates, pauli_transfer, noisy_expectations, engines
                the models, and their expectations on a noisy device, exact or by shots
device_jobs, submission, fleet
                what a device computes as a task, and on whose pilot
strategies, trainer, epochs, config, run
                whose gradients move whose weights, the training, its records and its directory
shot_schedule, inference_schedule, inference_run
                shots of inference over devices
"""
