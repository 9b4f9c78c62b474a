"""The command ``prl``: the command line of the extension module."""

import sys

from . import _prl


def main() -> int:
    """Runs the command line with this process's arguments; returns its exit code."""
    return _prl.main(["prl", *sys.argv[1:]], sys.executable)
