"""Preparation of a raw log in pandas or polars: everything is computed, nothing written; prints one JSON
line.

`seconds` start with the first byte read, without imports. RetailRocket and RC15 are filtered, indexed,
ordered, limited to sessions of at most 50 events and split as in the paper's protocol.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

MAX_LENGTH = 50
SAMPLE = 200_000


def split(sessions: int) -> np.ndarray:
    """Split of each session: 0 training, 1 validation, 2 test."""
    order = np.random.default_rng(0).permutation(sessions)
    parts = np.zeros(sessions, dtype=np.uint8)
    parts[order[: sessions // 10]] = 1
    parts[order[sessions // 10 : 2 * (sessions // 10)]] = 2
    return parts


def counts(sessions: int, items: int, purchases: int, events: int) -> dict:
    return {"sessions": sessions, "items": items, "clicks": events - purchases, "purchases": purchases}


def retailrocket_pandas(folder: Path) -> dict:
    import pandas as pd

    log = pd.read_csv(folder / "events.csv")
    log = log[log.transactionid.isna()]
    log = log[log.groupby("visitorid").visitorid.transform("size") > 2]
    log = log[log.groupby("itemid").itemid.transform("size") > 2]
    log["item"] = np.searchsorted(np.sort(log.itemid.unique()), log.itemid)
    log["purchase"] = log.event == "addtocart"
    log = log.sort_values(["visitorid", "timestamp"], kind="stable")
    before = counts(log.visitorid.nunique(), log.itemid.nunique(), int(log.purchase.sum()), len(log))
    log = log[log.groupby("visitorid").visitorid.transform("size") <= MAX_LENGTH]
    session = log.groupby("visitorid").ngroup()
    log["split"] = split(int(session.max()) + 1)[session]
    return before


def cut(log, session: str):
    """Drops long sessions and splits the rest, in polars."""
    import polars as pl

    log = log.filter(pl.len().over(session) <= MAX_LENGTH)
    index = log[session].rle_id().to_numpy()
    return log.with_columns(pl.Series("split", split(int(index[-1]) + 1)[index]))


def retailrocket_polars(folder: Path) -> dict:
    import polars as pl

    log = (
        pl.scan_csv(folder / "events.csv")
        .filter(pl.col("transactionid").is_null())
        .filter(pl.len().over("visitorid") > 2)
        .filter(pl.len().over("itemid") > 2)
        .select(
            "timestamp",
            "visitorid",
            (pl.col("itemid").rank("dense") - 1).alias("item"),
            (pl.col("event") == "addtocart").alias("purchase"),
        )
        .sort("visitorid", "timestamp", maintain_order=True)
        .collect()
    )
    before = counts(log["visitorid"].n_unique(), log["item"].n_unique(), int(log["purchase"].sum()), len(log))
    cut(log, "visitorid")
    return before


def rc15_polars(folder: Path) -> dict:
    import polars as pl

    def events(name: str, is_purchase: bool, columns: list[str]):
        log = pl.scan_csv(folder / name, has_header=False, new_columns=columns, infer_schema_length=0)
        time = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms")
        numbers = [pl.col("session").cast(pl.UInt32), pl.col("item").cast(pl.UInt32)]
        return log.select(*numbers, time, pl.lit(is_purchase).alias("purchase"))

    clicks = events("yoochoose-clicks.dat", False, ["session", "time", "item", "category"])
    clicks = clicks.filter(pl.len().over("session") > 2).collect(engine="streaming")
    sample = clicks["session"].unique().sort().sample(SAMPLE, seed=0)
    clicks = clicks.filter(pl.col("session").is_in(sample.implode()))
    buys = events("yoochoose-buys.dat", True, ["session", "time", "item", "price", "quantity"]).collect()
    buys = buys.filter(pl.col("session").is_in(sample.implode()))
    items = clicks["item"].unique().sort()
    log = pl.concat([clicks, buys]).with_columns(item=items.search_sorted(pl.concat([clicks, buys])["item"]))
    log = log.sort("session", "time", maintain_order=True)
    before = counts(log["session"].n_unique(), len(items), int(log["purchase"].sum()), len(log))
    cut(log, "session")
    return before


PREPARE = {
    ("retailrocket", "pandas"): retailrocket_pandas,
    ("retailrocket", "polars"): retailrocket_polars,
    ("rc15", "polars"): rc15_polars,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=["retailrocket", "rc15"])
    parser.add_argument("library", choices=["pandas", "polars"])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    library = __import__(args.library)
    start = time.perf_counter()
    before = PREPARE[args.log, args.library](args.folder)
    seconds = time.perf_counter() - start
    print(json.dumps({"who": args.library, "version": library.__version__, "seconds": seconds, "counts": before}))


if __name__ == "__main__":
    main()
