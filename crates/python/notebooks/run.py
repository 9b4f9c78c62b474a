"""Runs notebooks in a directory of their own, and checks or writes their outputs.

    python run.py 1-from-a-log-to-recommendations.ipynb ..   # checks
    python run.py --write *.ipynb                            # runs and stores the outputs

A check fails for a cell that raises, and for one whose text differs from the stored one in more than
its numbers. Needs nbclient and ipykernel.
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
#: Seconds that a cell may take.
TIMEOUT = 600


def shape(cell) -> list[str]:
    """The text of a cell's outputs, with every number and run of blanks as one sign."""
    texts = []
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append(re.sub(r"[\s-]+", " ", re.sub(r"-?\d[\d.,e+-]*", "#", text)).strip())
    return texts


def run(path: Path, write: bool) -> list[str]:
    """Runs a notebook; the differences of its outputs."""
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(fresh, timeout=TIMEOUT, resources={"metadata": {"path": folder}}).execute()
    if write:
        for cell in fresh.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(fresh, path)
        return []
    different = []
    for number, (before, after) in enumerate(zip(stored.cells, fresh.cells)):
        if before.cell_type == "code" and shape(before) != shape(after):
            different.append(f"{path.name}: cell {number}: {shape(after)} in place of {shape(before)}")
    return different


def main() -> int:
    """Runs the notebooks that are named."""
    write = "--write" in sys.argv
    different = []
    for name in sys.argv[1:]:
        if name != "--write":
            different += run(HERE / name, write)
    print("\n".join(different), file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
