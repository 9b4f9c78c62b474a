"""RecTools' SASRec on a prepared dataset: one JSON line with the seconds of training, the seconds and the
metrics of ranking the test split's events that have a history, and the peak memory in MB.

The model is as near to `prl train --encoder sasrec --recipe modern` as RecTools' options allow: one block, one
head, 64 factors, windows of 10 items, full softmax over the tied item vectors, dropout .2, Adam. A training
example of RecTools is a session with all of its positions; an epoch is a pass over all sessions.
"""

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from data import TEST, TRAIN, WINDOW, Sessions
from step_cpu import peak_rss_mb

K = 20


def table(users: np.ndarray, items: np.ndarray, times: np.ndarray) -> pd.DataFrame:
    """Interactions in RecTools' columns."""
    return pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: times})


def training(sessions: Sessions) -> pd.DataFrame:
    """The events of the training split, a user for each session; positions stand for times."""
    rows = sessions.rows(TRAIN)
    return table(sessions.starts[rows], sessions.items[rows], pd.to_datetime(rows - sessions.starts[rows], unit="s"))


def cases(sessions: Sessions) -> tuple[pd.DataFrame, np.ndarray]:
    """The last WINDOW items before each test event that has some, a user for each, and the events' items."""
    rows = sessions.rows(TEST)
    rows = rows[rows > sessions.starts[rows]]
    starts = np.maximum(rows - WINDOW, sessions.starts[rows])
    lengths = rows - starts
    users = np.repeat(np.arange(len(rows)), lengths)
    slots = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return table(users, sessions.items[np.repeat(starts, lengths) + slots], pd.to_datetime(slots, unit="s")), sessions.items[rows]


def metrics(lists: pd.DataFrame, targets: np.ndarray) -> dict:
    """HR@K and NDCG@K over all cases; a case without a list is a miss."""
    hits = lists[lists[Columns.Item].to_numpy() == targets[lists[Columns.User].to_numpy()]]
    gains = 1.0 / np.log2(hits[Columns.Rank].to_numpy() + 1.0)
    return {f"HR@{K}": len(hits) / len(targets), f"NDCG@{K}": float(gains.sum()) / len(targets)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset that `prl prepare` wrote")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128, help="sessions of a training step")
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = arguments()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    sessions = Sessions(args.data)
    dataset = Dataset.construct(training(sessions))
    model = SASRecModel(
        n_blocks=1, n_heads=1, n_factors=64, session_max_len=WINDOW, loss="softmax", dropout_rate=0.2,
        lr=args.lr, batch_size=args.batch, epochs=args.epochs, recommend_torch_device="cpu",
    )
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(dataset)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    windows, targets = cases(sessions)
    # A window of items that training has not seen gets no list: a miss.
    lists = model.recommend(
        windows[Columns.User].unique(), Dataset.construct(windows), k=K, filter_viewed=False, on_unsupported_targets="ignore"
    )
    ranked = time.perf_counter()
    line = {"train_s": fitted - start, "train_cpu_s": fitted_cpu - cpu, "rank_s": ranked - fitted}
    line |= {"events": len(targets), "peak_mb": peak_rss_mb()}
    settings = {"data": sessions.name, "epochs": args.epochs, "batch": args.batch, "lr": args.lr, "seed": args.seed}
    print(json.dumps({**settings, **line, **metrics(lists, targets)}))


if __name__ == "__main__":
    main()
