"""Study of arXiv:2602.16233, repeated on this system, and of ArbiterQ: one command, resumable.

cells           one measurement: a run directory, and a result once it is done
profiles        how much of the study a profile asks for
pilots             the pilots that cells run on
training_time, reconstruction_share, straggler_policies, accuracy, robustness
                the questions rq1 … rq5: which cells, what one measures, what they say together
fleet, fleet_findings
                the same for trainings on a fleet of QPUs
stragglers, slowdown, trend, baseline, trainings
                what questions share: injected delays, comparisons, the addon's pipeline, trainings
findings        what a question came to: a sentence, tables, plots, verdicts
run             the cells that are not done yet, one after the other, then the findings
tables, figures, page
                findings as CSV and Markdown, pictures, a page
"""
