"""``python -m prl``: the command ``prl``."""

import sys

from ._cli import main

sys.exit(main())
