"""Pages about runs: files to measures (`read`, `measures`), measures to a page (`figures`, `page`).

`plots` and `page` know nothing of runs; any page of figures can be made with them.
"""
