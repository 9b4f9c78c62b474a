"""Markdown table of the test results of train.py beside those of the Rust code on the same split.

`--ours` is the runs.csv written by `cargo xtask reproduce`, `--theirs` are the JSON files of train.py.
Only methods and encoders of both are compared. Shares are means over the seeds; theirs is "within" if
it is in the 95% Wilson interval of ours, which is that of a single run.
"""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

from metrics import wilson

METRICS = [("click", k) for k in (5, 10, 20)] + [("purchase", 20)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=Path, required=True)
    parser.add_argument("--theirs", type=Path, nargs="+", required=True)
    return parser.parse_args()


def main():
    args = arguments()
    ours, theirs = defaultdict(list), defaultdict(list)
    for run in csv.DictReader(args.ours.open()):
        if run["status"] == "done":
            ours[run["encoder"], run["method"]].append(run)
    for path in args.theirs:
        run = json.loads(path.read_text())
        theirs[run["encoder"], run["method"]].append(run["test"])
    print("| | seeds of each |", " | ".join(f"{kind} HR@{k}: ours | PyTorch" for kind, k in METRICS), "|")
    print("|---|---|" + "---:|---:|" * len(METRICS))
    for case in sorted(ours.keys() & theirs.keys()):
        cells = [f"{len(ours[case])}, {len(theirs[case])}"]
        for kind, k in METRICS:
            mine = [float(run[f"test {kind} HR@{k}"]) for run in ours[case]]
            mean = sum(mine) / len(mine)
            count = theirs[case][0][kind]["count"]
            low, high = wilson(round(mean * count), count)
            other = [test[kind][f"HR@{k}"][0] for test in theirs[case]]
            value = sum(other) / len(other)
            verdict = "within" if low <= value <= high else "outside"
            cells += [f"{mean:.4f} ({low:.4f} to {high:.4f})", f"{value:.4f} {verdict}"]
        print(f"| **{' '.join(case)}** |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
