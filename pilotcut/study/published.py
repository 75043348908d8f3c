"""Published results of arXiv:2602.16233 and ArbiterQ, which stand beside what is measured here."""

#: Share of reconstruction in a query's time, median, by number of cuts.
RECONSTRUCTION_SHARE = {1: 0.43, 2: 0.49, 3: 0.53}

TIME = "training at 3 cuts takes an order of magnitude longer than uncut"
SCALING = "reconstruction takes 43, 49 and 53 % at 1, 2 and 3 cuts; 16 workers no faster than one"
STRAGGLERS = "delays of tasks sit on the critical path of every query, since it ends at a barrier"
LEARNING = "accuracy preserved on Iris, and without a systematic loss on MNIST"
ROBUSTNESS = "robustness to Gaussian noise and FGSM preserved"

#: ArbiterQ (DAC 2025), from its abstract: the tables themselves have not been at hand.
FLEET = (
    "ArbiterQ (DAC 2025): training converges 4.03 times as fast as EQC's, with 7.87 % less loss; "
    "of its tables I and IV the single values have not been at hand"
)
