"""``python -m pilotcut.cli``: the command line, where no console script is installed."""

from pilotcut.cli import main

main()
