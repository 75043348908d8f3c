"""Search for cuts: `search` finds the best placements, `best_placement` the one for a limit."""

from pilotcut.cutting.search.best import best_placement
from pilotcut.cutting.search.candidates import Candidate, Cost, FragmentShape, proxy_cost
from pilotcut.cutting.search.portfolio import search

__all__ = ["Candidate", "Cost", "FragmentShape", "best_placement", "proxy_cost", "search"]
