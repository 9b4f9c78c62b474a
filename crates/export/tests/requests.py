"""Writes requests of `prl recommend --input`: the beginnings of 1,000 sessions of a prepared dataset.

Usage: requests.py DATA > requests.jsonl. A third of them is repeated four times, so that it is longer
than a window; a tenth ends with an item of no catalogue; mu is drawn from 0 to 4. Needs safetensors.
"""

import json
import random
import sys
from pathlib import Path

from safetensors.numpy import load_file

data = Path(sys.argv[1])
events = load_file(data / "events.safetensors")
items = load_file(data / "items.safetensors")
raw, ends = items["bytes"].tobytes(), [int(end) for end in items["offsets"]]
ids = [raw[first:end].decode() for first, end in zip(ends, ends[1:])]
offsets = [int(offset) for offset in events["offsets"]]
rng = random.Random(1)
for session in rng.sample(range(len(offsets) - 1), min(1000, len(offsets) - 1)):
    first, end = offsets[session], offsets[session + 1]
    end = first + rng.randint(0, end - first)
    history = [ids[item] for item in events["items"][first:end]]
    kinds = [["click", "purchase"][kind] for kind in events["kinds"][first:end]]
    if rng.random() < 0.3:
        history, kinds = 4 * history, 4 * kinds
    if rng.random() < 0.1:
        history, kinds = [*history, "nowhere"], [*kinds, "click"]
    mu = round(rng.uniform(0, 4), 2)
    print(json.dumps({"items": history, "kinds": kinds, "k": 20, "mu": mu}))
