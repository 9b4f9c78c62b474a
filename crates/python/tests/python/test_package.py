"""The package without any library of frames."""

import json
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import unittest

import prl
from common import Case, ROLES, columns, command


def weights(run: prl.Run) -> bytes:
    """The bytes of a run's best weights."""
    return (run.path / "best/weights.safetensors").read_bytes()


class CommandLine(Case):
    def test_training_has_the_bits_of_the_command(self):
        out = self.dir / "run"
        done = command("train", "--data", self.data.path, "--out", out, "--max-steps", 60, "--seed", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(weights(prl.Run(out)), weights(self.run_))

    def test_dataset_of_columns_is_that_of_a_file(self):
        of_file = prl.prepare(self.write_csv(), self.dir / "data", source="csv", **ROLES)
        self.assertEqual(of_file.manifest["dataset"], self.data.manifest["dataset"])

    def test_evaluation_is_that_of_the_command(self):
        done = command("evaluate", "--run", self.run_.path, "--json", "-k", "7", "--mu", "2")
        expected, found = json.loads(done.stdout), self.run_.evaluate(k=7, mu=2)
        for report in (expected, found):
            del report["events_per_second"]
        self.assertEqual(found, expected)

    def test_recommendation_is_that_of_the_command(self):
        done = command("recommend", "--run", self.run_.path, "--items", "5,6", "-k", 4, "--mu", 2, "--json")
        self.assertEqual(self.run_.recommend([["5", "6"]], k=4, mu=2), [json.loads(done.stdout)])

    def test_command_has_its_exit_codes(self):
        self.assertEqual(command("train").returncode, 2)
        log = self.write_csv()
        wrong = command("prepare", "--source", "csv", "--input", log, "--columns", "session=a,time=b,item=c", "--out", self.dir / "x")
        self.assertEqual(wrong.returncode, 3, wrong.stderr)
        self.assertIn("prl ", command("--version").stdout)


class Training(Case):
    def test_interrupted_training_continues_to_the_same_bits(self):
        class AtStep:
            def on_step(self, step, total, loss):
                if step >= 20:
                    signal.raise_signal(signal.SIGINT)

        out = self.dir / "run"
        flags = dict(epochs=400, patience=400, max_steps=300, seed=3, progress=False)
        with self.assertRaises(prl.Interrupted) as caught:
            prl.train(self.data, out, callbacks=[AtStep()], **flags)
        self.assertIsInstance(caught.exception, KeyboardInterrupt)
        self.assertIn("interrupted after step", str(caught.exception))
        step = int(str(caught.exception).split("after step ")[1].split(";")[0])
        self.assertTrue(20 <= step < 300, step)
        whole = prl.train(self.data, self.dir / "whole", **flags)
        resumed = prl.train(self.data, out, resume=True, **flags)
        self.assertEqual(weights(resumed), weights(whole))

    def test_callbacks_get_the_lines_of_the_metrics(self):
        class Record:
            def __init__(self):
                self.records, self.steps = [], []

            def on_step(self, step, total, loss):
                self.steps.append((step, total))

            def on_validation(self, record, is_best):
                self.records.append(record)

        record = Record()
        run = prl.train(self.data, self.dir / "run", max_steps=60, progress=False, callbacks=[record])
        self.assertEqual(record.records, run.metrics)
        self.assertEqual(record.steps[-1][0], run.manifest["steps"])

    def test_exception_of_a_callback_ends_the_training(self):
        class Fails:
            def on_validation(self, record, is_best):
                raise LookupError("enough")

        with self.assertRaisesRegex(LookupError, "enough") as caught:
            prl.train(
                self.data, self.dir / "run", epochs=400, patience=400, progress=False, callbacks=[Fails()]
            )
        self.assertIsInstance(caught.exception.__cause__, prl.Interrupted)

    def test_other_threads_run_meanwhile(self):
        counts = []
        done = threading.Event()

        def count():
            while not done.is_set():
                counts.append(time.monotonic())
                time.sleep(0.002)

        thread = threading.Thread(target=count)
        thread.start()
        prl.train(self.data, self.dir / "run", max_steps=100, progress=False)
        done.set()
        thread.join()
        # With the lock held it would count before and after alone.
        self.assertGreater(len(counts), 10)

    def test_logs_are_records_of_logging(self):
        with self.assertLogs("prl", logging.INFO) as logs:
            prl.train(self.data, self.dir / "run", max_steps=20)
        names = {record.name for record in logs.records}
        self.assertEqual(names, {"prl", "prl.train"})

    def test_search_ends_with_its_best_run(self):
        space = self.dir / "space.toml"
        space.write_text('encoder = "gru"\nepochs = 1\nlr = [0.001, 0.01]\n')
        found = prl.tune(self.data, self.dir / "search", space=space, trials=2)
        self.assertEqual(len(found["trials"]), 2)
        self.assertTrue(prl.Run(self.dir / "search/best").recommend([["1"]], k=2)[0]["items"])


class Keywords(Case):
    def test_values_are_spelled_as_flags(self):
        from prl._flags import arguments

        for keywords, flags in (
            (dict(tied=False, skip_first=False, bf16_head=True), ["--tied=false", "--bf16-head"]),
            (dict(lambda_=0.5, lr=1e-7, seed=None), ["--lambda=0.5", "--lr=1e-07"]),
            (dict(out=self.dir), [f"--out={self.dir}"]),
        ):
            self.assertEqual(arguments("train", keywords), flags)
        lists = dict(click=["view", "look"], reward={"cart": 0.5}, input=["a.csv", "sale=b.csv"])
        expected = ["--click=view", "--click=look", "--reward=cart=0.5", "--input=a.csv", "--input=sale=b.csv"]
        self.assertEqual(arguments("prepare", lists), expected)
        with self.assertRaisesRegex(prl.UsageError, "separates"):
            arguments("prepare", dict(click=["a,b"]))
        for wrong in (dict(skip_first="yes"), dict(lr=True), dict(lr=[1])):
            with self.assertRaises(prl.UsageError):
                arguments("train", wrong)

    def test_flags_are_documented(self):
        self.assertIn("- max_steps (int): Maximum number of training steps", prl.train.__doc__)


class Commands(Case):
    def test_any_command_runs_apart(self):
        shop = self.dir / "shop"
        prl.command("synth", like="shop", sessions=300, out=shop)
        self.assertTrue((shop / "events.csv").is_file())
        with self.assertRaisesRegex(prl.UsageError, "like"):
            prl.command("synth", like="town", out=shop)

    def test_commands_take_arguments_without_a_flag_and_subcommands(self):
        prl.command("export", self.run_, to=self.dir / "exported", format="safetensors")
        self.assertTrue(any((self.dir / "exported").iterdir()))
        listed = prl.command("models list", registry=self.root)
        self.assertIn("run", str(listed))
        with self.assertRaisesRegex(prl.UsageError, "no such command"):
            prl.command("models lst", registry=self.root)


class Serving(Case):
    def test_server_answers_as_the_run(self):
        with prl.serve(self.run_) as server:
            served = server.request("/v1/recommend", {"items": ["5", "6"], "k": 4, "mu": 2})
            self.assertEqual(served["items"], self.run_.recommend([["5", "6"]], k=4, mu=2)[0]["items"])
            with self.assertRaisesRegex(prl.UsageError, "k: expected"):
                server.request("/v1/recommend", {"items": ["5"], "k": 0})
        with self.assertRaisesRegex(prl.Error, "is the server running"):
            server.request("/healthz")
        with self.assertRaises(prl.Error):
            prl.serve(self.dir)


class Evaluating(Case):
    def test_interrupted_evaluation_leaves_no_file(self):
        cases, large = self.dir / "cases.csv", prl.prepare(columns(20_000), self.dir / "large", **ROLES)
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with self.assertRaises(KeyboardInterrupt):
            # A hundred thousand cases, one by one.
            self.run_.evaluate(other_log=large, split="all", batch_size=1, cases=cases)
        self.assertFalse(cases.exists())


class Recommending(Case):
    def test_integers_and_texts_name_the_same_items(self):
        self.assertEqual(self.run_.recommend([[5, 6]]), self.run_.recommend([["5", "6"]]))

    def test_request_has_its_own_fields(self):
        answers = self.run_.recommend([{"session": "a", "items": ["5"], "k": 2}, {"items": ["5"], "exclude": ["6"]}], k=3)
        self.assertEqual([len(answer["items"]) for answer in answers], [2, 3])
        self.assertNotIn("6", [item["item"] for item in answers[1]["items"]])

    def test_list_is_that_of_one_session_at_a_time(self):
        sessions = [[item, (item + 1) % 60] for item in range(60)] + [[]]
        together = self.run_.recommend(sessions, k=5)
        self.assertEqual(together, [self.run_.recommend([session], k=5)[0] for session in sessions])

    def test_wrong_requests_are_named(self):
        for sessions, fields, message in (
            ([["1"]], dict(k=0), "k: expected a whole number from 1 to 1000"),
            ([["1"]], dict(mu=1, quantile=0.5), "quantile"),
            ([["1"]], dict(mu=float("nan")), "not finite"),
            ([["1"]], dict(colour="red"), "colour"),
            (["abc"], {}, "session 0"),
            ([["1"], {"itms": []}], {}, "session 1: items is missing"),
            ([["1"], {"items": ["1"], "kinds": ["click", "click"]}], {}, "session 1: kinds holds 2 values"),
        ):
            with self.assertRaises(prl.UsageError) as caught:
                self.run_.recommend(sessions, **fields)
            self.assertIn(message, str(caught.exception))


class Failures(Case):
    def test_kinds_of_failure_have_classes(self):
        with self.assertRaisesRegex(TypeError, "did you mean encoder"):
            prl.train(self.data, self.dir / "run", encodr="gru")
        with self.assertRaisesRegex(prl.UsageError, "similar value exists: 'gru'"):
            prl.train(self.data, self.dir / "run", encoder="grru")
        with self.assertRaisesRegex(prl.DataError, "no finished run"):
            prl.Run(self.dir)
        with self.assertRaises(prl.DataError):
            prl.Dataset(self.dir)
        with self.assertRaisesRegex(prl.DataError, 'no column "vis"'):
            prl.prepare(columns(), self.dir / "data", **{**ROLES, "session": "vis"})
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_run_is_pickled_by_its_path(self):
        restored = pickle.loads(pickle.dumps(self.run_))
        self.assertEqual(restored.recommend([["1"]]), self.run_.recommend([["1"]]))
        self.assertLess(len(pickle.dumps(self.run_)), 500)

    def test_forked_child_is_refused_and_spawned_one_works(self):
        expected = self.run_.recommend([["1"]])
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            self.assertEqual(pool.apply(self.run_.recommend, ([["1"]],)), expected)
        child = os.fork()
        if child == 0:
            try:
                self.run_.recommend([["1"]])
            except prl.ForkError as error:
                os._exit(17 if "spawn" in str(error) else 1)
            os._exit(2)
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 17)


if __name__ == "__main__":
    unittest.main()
