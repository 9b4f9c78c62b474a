"""Examples of a prepared dataset: windows, rewards, returns and next states, by sections 1 and 2 of the
protocol.

An example is an event: its state is the WINDOW items before it, its action the item itself. Windows are
cut when a batch is drawn.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

WINDOW = 10
STEPS = 50
TRAIN, VAL, TEST = 0, 1, 2
CLICK, PURCHASE = 0, 1
REWARDS = np.array([0.2, 1.0])
DTYPES = {"U8": np.uint8, "U32": np.uint32, "U64": np.uint64, "I64": np.int64}


class Batch(NamedTuple):
    """Examples of B events with their next states."""

    items: Tensor  # [B, WINDOW] int64, padded on the right with item_num
    lengths: Tensor  # [B] int64, at least 1
    steps: Tensor  # [B] int64, below STEPS
    prompts: Tensor  # [B] return over the mean return of the step
    targets: Tensor  # [B] int64
    rewards: Tensor  # [B]
    next_items: Tensor  # [B, WINDOW]
    next_lengths: Tensor  # [B]
    ended: Tensor  # [B] bool: the session ends with the action


def random_batch(item_num: int, rows: int) -> Batch:
    """Random examples with full and padded windows."""
    slots = torch.arange(WINDOW)

    def windows():
        lengths = torch.randint(1, WINDOW + 1, (rows,))
        items = torch.randint(item_num, (rows, WINDOW))
        return torch.where(slots < lengths[:, None], items, item_num), lengths

    steps, targets = torch.randint(STEPS, (rows,)), torch.randint(item_num, (rows,))
    rewards = torch.where(torch.rand(rows) < 0.05, 1.0, 0.2)
    return Batch(*windows(), steps, torch.rand(rows) * 2, targets, rewards, *windows(), torch.rand(rows) < 0.2)


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file: eight bytes of header length, a JSON header, the data."""
    raw = path.read_bytes()
    body = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:body])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        arrays[name] = np.frombuffer(raw[body + start : body + stop], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def returns(weighted: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Eq. 7: for each event the sum of `weighted` from it to the end of its session."""
    from_here = np.append(np.cumsum(weighted[::-1])[::-1], 0.0)
    return from_here[:-1] - np.repeat(from_here[offsets[1:]], np.diff(offsets))


class Sessions:
    """The events of a prepared dataset, one array entry each; sessions lie one after another."""

    def __init__(self, directory: Path, discount: float = 1.0):
        manifest = json.loads((directory / "manifest.json").read_text())
        events = read_safetensors(directory / "events.safetensors")
        offsets = events["offsets"].astype(np.int64)
        self.name = manifest["dataset"]
        self.item_num = len(read_safetensors(directory / "items.safetensors")["offsets"]) - 1
        self.items = events["items"].astype(np.int64)
        self.kinds, self.splits = events["kinds"], events["splits"]
        self.starts = np.repeat(offsets[:-1], np.diff(offsets))
        self.rewards = REWARDS[self.kinds]
        self._prompt(offsets, discount)
        followed = np.append(self.starts[1:] == self.starts[:-1], False)
        self.ended = ~(followed & (np.append(self.splits[1:], TRAIN) == self.splits))

    def _prompt(self, offsets: np.ndarray, discount: float):
        """Time steps, mean return of each, and the return over it. Rewards outside of the training split are 0."""
        t = np.arange(len(self.items)) - self.starts
        train = self.splits == TRAIN
        gains = returns(np.where(train, discount**t * self.rewards, 0.0), offsets)
        counts = np.bincount(t[train], minlength=STEPS)[:STEPS]
        self.mean = np.bincount(t[train], gains[train], STEPS)[:STEPS] / np.maximum(counts, 1)
        self.steps = np.minimum(t, STEPS - 1)
        mean = self.mean[self.steps]
        self.prompts = np.divide(gains, mean, out=np.zeros_like(gains), where=mean > 0)

    def rows(self, split: int) -> np.ndarray:
        """Every event of a split."""
        return np.flatnonzero(self.splits == split)

    def batch(self, rows: np.ndarray) -> Batch:
        """The batch of some events."""
        items, lengths = self._windows(self.starts[rows], rows)
        next_items, next_lengths = self._windows(self.starts[rows], rows + 1)
        steps, targets, ended = (torch.from_numpy(a[rows]) for a in (self.steps, self.items, self.ended))
        prompts, rewards = (torch.from_numpy(a[rows]).float() for a in (self.prompts, self.rewards))
        return Batch(items, lengths, steps, prompts, targets, rewards, next_items, next_lengths, ended)

    def _windows(self, starts: np.ndarray, stops: np.ndarray) -> tuple[Tensor, Tensor]:
        """Last WINDOW items of each range starts..stops; an empty window is one padding item."""
        lengths = np.minimum(stops - starts, WINDOW)
        slots = np.arange(WINDOW)
        inside = slots < lengths[:, None]
        at = np.where(inside, (stops - lengths)[:, None] + slots, 0)
        items = np.where(inside, self.items[at], self.item_num)
        return torch.from_numpy(items), torch.from_numpy(np.maximum(lengths, 1))
