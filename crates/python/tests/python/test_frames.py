"""Frames in and out, with pandas, polars, pyarrow and numpy."""

import unittest

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

import prl
from common import Case, ROLES, columns


def sessions() -> pd.DataFrame:
    """Events of three sessions, with an integer name of item and session, not sorted by time."""
    rows = [(9, 3, 5, "click"), (9, 1, 4, "click"), (2, 2, 30, "click"), (9, 4, 5, "purchase"), (7, 5, 8, "click")]
    return pd.DataFrame(rows, columns=["visitor", "at", "sku", "kind"])


COLUMNS = {"session": "visitor", "item": "sku", "time": "at", "kind": "kind"}
IN_ORDER = [{"items": [4, 5, 5], "kinds": ["click", "click", "purchase"]}, {"items": [30]}, {"items": [8]}]


class Logs(Case):
    def test_frames_of_all_libraries_are_one_dataset(self):
        log = pd.DataFrame(columns())
        frames = {
            "pandas": log,
            "pandas text": log.astype({"sku": "string", "what": "category"}),
            "pandas times": log.assign(at=pd.to_datetime(log["at"], unit="s")),
            "pandas UTC": log.assign(at=pd.to_datetime(log["at"], unit="s", utc=True)),
            "polars": pl.from_pandas(log),
            "polars chunks": pl.concat([pl.from_pandas(log[:100]), pl.from_pandas(log[100:])], rechunk=False),
            "pyarrow": pa.Table.from_pandas(log, preserve_index=False),
            "numpy": {name: log[name].to_numpy() for name in log},
            "Index": log.sample(frac=1, random_state=0).sort_values("at"),
        }
        for number, (name, frame) in enumerate(frames.items()):
            data = prl.prepare(frame, self.dir / str(number), **ROLES)
            self.assertEqual(data.manifest["dataset"], self.data.manifest["dataset"], name)

    def test_parquet_file_is_the_same_dataset_and_a_damaged_one_an_error(self):
        path = self.dir / "log.parquet"
        pd.DataFrame(columns()).to_parquet(path)
        data = prl.prepare(path, self.dir / "data", source="parquet", **ROLES)
        self.assertEqual(data.manifest["dataset"], self.data.manifest["dataset"])
        path.write_bytes(path.read_bytes()[:-900])
        with self.assertRaises(prl.DataError):
            prl.prepare(path, self.dir / "damaged", source="parquet", **ROLES)

    def test_events_are_those_of_the_log(self):
        log = pd.DataFrame(columns())
        events = self.data.events("pandas")
        self.assertEqual(len(events), len(log))
        raw = events["item"].map(lambda index: int(self.data.items[index]))
        self.assertEqual(sorted(raw), sorted(log["sku"]))
        self.assertEqual((events["kind"] == "purchase").sum(), (log["what"] == "sale").sum())
        self.assertEqual(sorted(events["time"]), sorted(log["at"] * 1000))


class Answers(Case):
    def test_frame_of_events_is_answered_in_its_library_and_types(self):
        expected = self.run_.recommend(IN_ORDER, k=3)
        for frame in (sessions(), pl.from_pandas(sessions()), pa.Table.from_pandas(sessions(), preserve_index=False)):
            found = self.run_.recommend(frame, k=3, columns=COLUMNS)
            self.assertIs(type(found), type(frame))
            found = found if isinstance(found, pd.DataFrame) else found.to_pandas()
            self.assertEqual(found["session"].tolist(), [9] * 3 + [2] * 3 + [7] * 3)
            self.assertEqual(found["rank"].tolist(), [1, 2, 3] * 3)
            self.assertTrue(pd.api.types.is_integer_dtype(found["item"]))
            items = [int(item["item"]) for answer in expected for item in answer["items"]]
            self.assertEqual(found["item"].tolist(), items)
            scores = [item["score"] for answer in expected for item in answer["items"]]
            self.assertEqual(found["score"].astype(float).round(6).tolist(), np.round(scores, 6).tolist())

    def test_lists_are_answered_by_any_library(self):
        for name, kind in (("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("pyarrow", pa.Table)):
            self.assertIsInstance(self.run_.recommend([["1"]], as_frame=name), kind)
        lists = pl.DataFrame({"session": ["a", "b"], "items": [[4, 5], []]})
        found = self.run_.recommend(lists, k=2)
        self.assertEqual(found["session"].to_list(), ["a", "a", "b", "b"])
        self.assertEqual(found["item"].dtype, pl.Int64)
        texts = self.run_.recommend(lists.with_columns(pl.col("items").cast(pl.List(pl.String))), k=2)
        self.assertEqual(texts["item"].to_list(), [str(item) for item in found["item"]])

    def test_numpy_values_are_values_of_a_request(self):
        plain = self.run_.recommend([[4, 5]], k=3, exclude=[6])
        self.assertEqual(self.run_.recommend([np.array([4, 5])], k=np.int64(3), exclude=np.array([6])), plain)

    def test_times_of_any_type_are_an_order(self):
        expected = self.run_.recommend(sessions(), k=3, columns=COLUMNS)
        for times in ("float32", "float64", "uint8", "datetime64[ns]"):
            frame = sessions().assign(at=sessions()["at"].astype(times))
            pd.testing.assert_frame_equal(self.run_.recommend(frame, k=3, columns=COLUMNS), expected)

    def test_names_of_requests_may_be_mixed(self):
        found = self.run_.recommend([{"session": "a", "items": [4]}, [5]], k=1, as_frame="pandas")
        self.assertEqual(found["session"].tolist(), ["a", "1"])
        found = self.run_.recommend([{"session": 7, "items": list(np.array([4, 5]))}], k=2, as_frame="pandas")
        self.assertTrue(pd.api.types.is_integer_dtype(found["item"]))
        self.assertEqual(found["session"].tolist(), [7, 7])

    def test_property_named_as_a_column_is_refused(self):
        with self.assertRaises(prl.UsageError):
            self.run_.recommend(sessions(), columns=COLUMNS, properties=["score"])

    def test_frames_without_sessions_are_named(self):
        for frame, message in (
            (sessions().astype({"sku": float}), "column item holds f64"),
            (sessions().assign(kind="view"), 'column kind holds "view" in row 0'),
            (sessions().assign(visitor=pd.array([1, None, 2, 3, 4], dtype="Int64")), "column session has no value in row 1"),
            (sessions().drop(columns="sku"), "no column 'sku'"),
            (sessions().assign(at=np.array([1, 2, 3, 4, 2**64 - 1], dtype="uint64")), "column time"),
        ):
            with self.assertRaises(prl.DataError) as caught:
                self.run_.recommend(frame, columns=COLUMNS)
            self.assertIn(message, str(caught.exception))


class Scorers(Case):
    def test_popularity_by_a_scorer_is_the_popularity_baseline(self):
        popularity = prl.train(self.data, self.dir / "popularity", method="popularity", recipe=None)
        events = self.data.events("pandas")
        # The baseline counts the training split.
        counts = np.bincount(events["item"][events["split"] == "train"], minlength=len(self.data.items))
        for flags in ({}, {"exclude_seen": True}, {"skip_first": True, "k": [3]}):
            found = self.run_.evaluate(lambda sessions: np.tile(counts, (len(sessions), 1)), **flags)
            expected = popularity.evaluate(**flags)
            for kind in ("all", "click", "purchase", "coverage@20"):
                self.assertEqual(found[kind], expected[kind], f"{flags} {kind}")

    def test_scorer_gets_whole_sessions_in_order(self):
        events = self.data.events("pandas")
        test = events[events["split"] == "test"]
        histories = []
        for _, session in test.groupby("session", sort=False):
            histories += [session["item"].tolist()[:length] for length in range(len(session))]
        seen = []

        def scorer(batch):
            seen.extend(session.tolist() for session in batch)
            return np.zeros((len(batch), len(self.data.items)))

        report = self.run_.evaluate(scorer, batch_size=17)
        self.assertEqual(seen, histories)
        self.assertEqual(report["all"]["HR@20"], 0.0, "equal scores count against the target")

    def test_wrong_scores_are_errors_and_exceptions_pass(self):
        items = len(self.data.items)
        for scorer, message in (
            (lambda batch: np.zeros((len(batch), items - 1)), "expected"),
            (lambda batch: np.full((len(batch), items), np.nan), "NaN"),
        ):
            with self.assertRaises(prl.UsageError) as caught:
                self.run_.evaluate(scorer)
            self.assertIn(message, str(caught.exception))
        with self.assertRaises(ZeroDivisionError):
            self.run_.evaluate(lambda batch: 1 / 0)


if __name__ == "__main__":
    unittest.main()
