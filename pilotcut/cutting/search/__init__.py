"""Search for cuts: `search` finds the best placements, `choose_labels` balanced qubit labels."""

from pilotcut.cutting.search.balanced import choose_labels
from pilotcut.cutting.search.candidates import Candidate, Cost, FragmentShape, proxy_cost
from pilotcut.cutting.search.portfolio import search

__all__ = ["Candidate", "Cost", "FragmentShape", "choose_labels", "proxy_cost", "search"]
