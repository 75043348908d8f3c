"""Training of networks that hold cut circuits, or of any torch module.

trainer         `Trainer`: epochs, early stopping, callbacks, resumption
passes, losses, optimisers, callbacks
                what an epoch consists of, and who watches
history, checkpoint, trainer_directory
                record of an epoch, state of a training, their files
config, checks  settings of `pilotcut train`, and what each may be
data, mnist, loaders, model
                samples, and the classifier that learns them
run, run_directory, trained
                `pilotcut train` as a whole, its directory, the network that it leaves
robustness      perturbed inputs for a trained network
parallel        `DataParallel`: replicas on pilots
"""
