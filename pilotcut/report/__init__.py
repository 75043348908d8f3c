"""Reports of runs: files to a record, records to numbers, numbers to sections of a page.

`read` makes a `RunRecord` of a run directory, whatever of its files is there; `measures` are pure
functions of its arrays. `learning`, `workers`, `forecasts`, `comparison` and `run_page` return
`Section`s: a sentence that answers, and the tables and figures (`plots`, `figures`) that show it.
`page` puts them into one HTML file; `plots` and `page` know nothing of runs, and the study's page
is made of them too.

Beside it: `status` and `run_follower` (a run on a terminal), `plan_drawing` and
`recommendation_plot` (figures of matplotlib), `chrome_trace` (a run for Perfetto).
"""
