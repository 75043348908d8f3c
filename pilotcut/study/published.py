"""Published results of arXiv:2602.16233 and ArbiterQ, which stand beside what is measured here."""

#: Share of reconstruction in a query's time, median, by number of cuts.
RECONSTRUCTION_SHARE = {1: 0.43, 2: 0.49, 3: 0.53}

TIME = "training at 3 cuts takes an order of magnitude longer than uncut"
SCALING = "reconstruction takes 43, 49 and 53 % at 1, 2 and 3 cuts; 16 workers no faster than one"
STRAGGLERS = "delays of tasks sit on the critical path of every query, since it ends at a barrier"
LEARNING = "accuracy preserved on Iris, and without a systematic loss on MNIST"
ROBUSTNESS = "robustness to Gaussian noise and FGSM preserved"

#: ArbiterQ (DAC 2025), from its abstract; its table I is below.
FLEET = "ArbiterQ (DAC 2025): training converges 4.03 times as fast as EQC's, with 7.87 % less loss"

#: Table I of ArbiterQ by data set and model: epochs until convergence, and converged test losses,
#: of single, all-sharing, EQC and ArbiterQ. Digits stand for MNIST.
ARBITERQ = {
    ("iris", "crz"): ((24, 38, 28, 3), (0.0881, 0.0905, 0.0737, 0.0566)),
    ("iris", "crx"): ((29, 33, 20, 3), (0.1136, 0.1057, 0.0741, 0.0608)),
    ("wine", "crz"): ((47, 43, 37, 30), (0.4717, 0.4686, 0.4691, 0.4550)),
    ("wine", "crx"): ((54, 40, 37, 9), (0.4711, 0.4739, 0.4710, 0.4550)),
    ("digits", "crz"): ((185, 198, 144, 87), (0.3213, 0.3534, 0.2858, 0.2824)),
    ("digits", "crx"): ((159, 67, 98, 28), (0.2910, 0.2734, 0.2736, 0.2626)),
}
