"""`python tests/support/vendor_stacks` makes all environments."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from support import vendor_stacks  # noqa: E402

if len(sys.argv) > 1:
    vendor_stacks.PLACE = Path(sys.argv[1])
for vendor in vendor_stacks.NAMES:
    vendor_stacks.make(vendor)
