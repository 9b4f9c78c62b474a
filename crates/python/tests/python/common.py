"""A small log, and what the tests share."""

import csv
import importlib.util
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import prl

#: The mapping of the log's columns.
ROLES = dict(session="visitor", time="at", item="sku", event="what", click=["view"], purchase=["sale"])


def columns(sessions: int = 400, seed: int = 1) -> dict[str, list]:
    """The columns of a log: sessions that walk upwards through 60 items, and buy some again."""
    draw = random.Random(seed)
    rows: dict[str, list] = {"visitor": [], "at": [], "sku": [], "what": []}
    at = 1_400_000_000
    for visitor in range(sessions):
        item = draw.randrange(60)
        for _ in range(draw.randint(2, 9)):
            at += draw.randint(1, 60)
            is_sale = draw.random() < 0.15
            if not is_sale:
                item = (item + draw.choice([1, 1, 1, 2, 7])) % 60
            for name, value in zip(rows, (visitor, at, item, "sale" if is_sale else "view")):
                rows[name].append(value)
    return rows


def has(*libraries: str) -> bool:
    """Whether all of these libraries are installed."""
    return all(importlib.util.find_spec(name) is not None for name in libraries)


def command(*arguments: object) -> subprocess.CompletedProcess:
    """Runs the command `prl` that is installed with the package."""
    program = Path(sys.executable).with_name("prl")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


class Case(unittest.TestCase):
    """A test with a directory of its own, a prepared dataset and a trained run that the class shares."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.root = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.root)
        cls.data = prl.prepare(columns(), cls.root / "data", **ROLES)
        cls.run_ = prl.train(cls.data, cls.root / "run", max_steps=60, seed=3, progress=False)

    def setUp(self) -> None:
        self.dir = Path(tempfile.mkdtemp(dir=self.root))

    def write_csv(self) -> Path:
        """The log as a CSV file."""
        rows = columns()
        path = self.dir / "log.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows)
            writer.writerows(zip(*rows.values()))
        return path
