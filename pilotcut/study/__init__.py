"""The study of arXiv:2602.16233, repeated on this system: five questions, one command.

cells.py      a cell is one measurement: a run directory, and a result once it is done
profiles.py   how much of the study a profile asks for
lab.py        the pilots that cells run on
rq1.py … rq5.py   the questions: which cells, what one measures, what they say together
findings.py   what a question came to: a sentence, tables, plots, verdicts
run.py        the cells that are not done yet, one after the other, then the findings
tables.py, figures.py, page.py   findings as CSV, Markdown, pictures and a page
"""
