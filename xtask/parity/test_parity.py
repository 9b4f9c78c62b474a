"""Tests of this directory's code: `python -m unittest` in it."""

import json
import math
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

from data import STEPS, WINDOW, Sessions, random_batch
from encoders import ENCODERS
from methods import METHODS, build
from metrics import ranks, summary, wilson
from step_gpu import block, fields

ITEMS = 30
torch.set_num_threads(1)


def write_safetensors(path: Path, **arrays: np.ndarray):
    header, body = {}, b""
    codes = {"uint8": "U8", "uint32": "U32", "uint64": "U64", "int64": "I64"}
    for name, array in arrays.items():
        span = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": codes[array.dtype.name], "shape": array.shape, "data_offsets": span}
        body += array.tobytes()
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + body)


def dataset(sessions: list[list[tuple[int, int, int]]]) -> Sessions:
    """Dataset of sessions given as (item, kind, split)."""
    events = np.array([event for session in sessions for event in session])
    offsets = np.cumsum([0] + [len(session) for session in sessions]).astype(np.uint64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "manifest.json").write_text('{"dataset": "hand"}')
        columns = {"items": events[:, 0].astype(np.uint32)}
        columns |= {"kinds": events[:, 1].astype(np.uint8), "splits": events[:, 2].astype(np.uint8)}
        write_safetensors(folder / "events.safetensors", offsets=offsets, **columns)
        write_safetensors(folder / "items.safetensors", offsets=np.arange(ITEMS + 1, dtype=np.uint64))
        return Sessions(folder)


def mixed(count: int = 40) -> Sessions:
    """Training sessions of 1 to 13 events, seeded."""
    draws = np.random.default_rng(0)
    return dataset([[(draws.integers(ITEMS), draws.integers(2), 0) for _ in range(1 + i % 13)] for i in range(count)])


class Data(unittest.TestCase):
    def test_batch_survives_a_round_trip_through_bytes(self):
        first, second = random_batch(ITEMS, 16), random_batch(ITEMS, 16)
        place = block(first).clone()
        batch = fields(place, first)
        place.copy_(block(second))
        for field, expected in zip(batch, second):
            self.assertEqual(field.dtype, expected.dtype)
            self.assertTrue(torch.equal(field, expected))

    def test_windows_and_next_states_match_by_hand(self):
        batch = dataset([[(i, 0, 0) for i in range(12)], [(20, 1, 0), (21, 0, 0)]]).batch(np.array([0, 1, 11, 12]))
        self.assertEqual(batch.items[0].tolist(), [ITEMS] * WINDOW)
        self.assertEqual(batch.items[1].tolist(), [0] + [ITEMS] * (WINDOW - 1))
        self.assertEqual(batch.items[2].tolist(), list(range(1, 11)))
        self.assertEqual(batch.next_items[2].tolist(), list(range(2, 12)))
        self.assertEqual(batch.next_items[3].tolist(), [20] + [ITEMS] * (WINDOW - 1))
        self.assertEqual(batch.lengths.tolist(), [1, 1, 10, 1])
        self.assertEqual(batch.next_lengths.tolist(), [1, 2, 10, 1])
        self.assertEqual(batch.targets.tolist(), [0, 1, 11, 20])
        self.assertEqual(batch.ended.tolist(), [False, False, True, False])

    def test_prompts_are_returns_over_their_mean(self):
        # Returns 1.4 .4 .2 and .4 .2 in training; the validation session is in no mean.
        data = dataset([[(1, 1, 0), (2, 0, 0), (3, 0, 0)], [(4, 0, 0), (5, 0, 0)], [(6, 1, 1)]])
        np.testing.assert_allclose(data.mean[:4], [0.9, 0.3, 0.2, 0.0])
        np.testing.assert_allclose(data.prompts[:5], [1.4 / 0.9, 0.4 / 0.3, 1.0, 0.4 / 0.9, 0.2 / 0.3])

    def test_held_out_events_are_no_reward_and_no_next_state(self):
        data = dataset([[(1, 0, 0), (2, 0, 0), (3, 1, 1), (4, 1, 2)]])
        np.testing.assert_allclose(data.mean[:3], [0.4, 0.2, 0.0])
        self.assertEqual(data.ended.tolist(), [False, True, True, True])


class Models(unittest.TestCase):
    def test_gradients_reach_every_parameter(self):
        batch = mixed().batch(np.arange(200))
        for encoder in ENCODERS:
            for method in METHODS:
                torch.manual_seed(0)
                model = build(method, encoder, ITEMS)
                turns = [(0, True), (1, True)] if method in ("sqn", "sac") else [()]
                sum(model(batch, *turn) for turn in turns).backward()
                for name, parameter in model.named_parameters():
                    # Softmax takes no notice of what is added to all keys. The gradients of CORE's attention
                    # have three factors of the size of its small embeddings.
                    least = -1 if name.endswith("key.bias") else 1e-10 if encoder == "core" else 1e-7
                    with self.subTest(encoder=encoder, method=method, name=name):
                        self.assertGreater(parameter.grad.abs().max().item(), least)

    def test_padding_content_does_not_change_the_state(self):
        batch = mixed().batch(np.arange(200))
        rows = batch.items[:, 0] != ITEMS  # an empty state is one pad, on purpose
        for name, encoder in ENCODERS.items():
            model = encoder(ITEMS).eval()
            before = model(batch.items, batch.lengths)
            with torch.no_grad():
                model.embedding.weight[ITEMS] += 1.0
            after = model(batch.items, batch.lengths)
            with self.subTest(encoder=name):
                torch.testing.assert_close(before[rows], after[rows])

    def test_later_items_do_not_change_a_causal_state(self):
        items = torch.randint(ITEMS, (20, WINDOW))
        lengths = torch.arange(20) % (WINDOW - 1) + 1
        changed = torch.where(torch.arange(WINDOW) < lengths[:, None], items, (items + 1) % ITEMS)
        for name in ("gru", "nextitnet", "sasrec"):
            model = ENCODERS[name](ITEMS).eval()
            with self.subTest(encoder=name):
                torch.testing.assert_close(model(items, lengths), model(changed, lengths))

    def test_gru_matches_equation_8(self):
        model = ENCODERS["gru"](ITEMS)
        items = torch.tensor([[3, 4] + [ITEMS] * (WINDOW - 2)])
        w, u, c, b = model.inputs, model.gates, model.candidate, model.bias
        state = torch.zeros(64)
        for x in model.embedding.weight[[3, 4]]:
            z, g = (torch.sigmoid(w[i : i + 64] @ x + u[i : i + 64] @ state + b[i : i + 64]) for i in (0, 64))
            state = (1 - z) * state + z * torch.tanh(w[128:] @ x + c @ (g * state) + b[128:])
        torch.testing.assert_close(model(items, torch.tensor([2]))[0], state)

    def test_double_q_target_matches_by_hand(self):
        batch = mixed().batch(np.arange(200))
        model = build("sqn", "caser", ITEMS)
        state = [net.encoder(batch.next_items, batch.next_lengths) for net in model.networks]
        mine, theirs = model.values[1](state[1]), model.values[0](state[0])
        for row, target in enumerate(model.target(batch, 1).tolist()):
            worth = 0.0 if batch.ended[row] else theirs[row, mine[row].argmax()].item()
            self.assertAlmostEqual(target, batch.rewards[row].item() + 0.5 * worth, places=5)

    def test_loss_decreases(self):
        batch = mixed().batch(np.arange(200))
        for encoder in ENCODERS:
            for method in METHODS:
                torch.manual_seed(0)
                model = build(method, encoder, ITEMS, warmup=1000)
                adam = torch.optim.Adam(model.parameters(), 0.005)
                losses = []
                for step in range(60):
                    loss = model(batch, *model.turn(step))
                    adam.zero_grad()
                    loss.backward()
                    adam.step()
                    losses.append(loss.item())
                with self.subTest(encoder=encoder, method=method):
                    self.assertLess(losses[-1], 0.9 * losses[0])

    def test_prompt_changes_the_scores(self):
        batch = mixed().batch(np.arange(20))
        model = build("prl", "gru", ITEMS).eval()
        with torch.no_grad():
            model.prompt.reward *= 100
        low, high = (model.logits(batch, torch.full([20], mu)) for mu in (0.0, 2.0))
        self.assertGreater((low - high).abs().max().item(), 1e-4)
        self.assertTrue((batch.steps < STEPS).all())


class Metrics(unittest.TestCase):
    def test_ranks_match_brute_force(self):
        scores = torch.randint(8, (50, ITEMS)).float()  # full of ties
        targets = torch.randint(ITEMS, (50,))
        for row, rank in enumerate(ranks(scores, targets).tolist()):
            others = [s for i, s in enumerate(scores[row].tolist()) if i != targets[row]]
            self.assertEqual(rank, 1 + sum(s >= scores[row, targets[row]].item() for s in others))

    def test_nan_is_an_error(self):
        with self.assertRaises(ValueError):
            ranks(torch.tensor([[0.0, math.nan]]), torch.tensor([0]))

    def test_metrics_match_by_hand(self):
        result = summary(np.array([1, 3, 6, 21, 2]), np.array([0, 0, 0, 0, 1]))
        click = result["click"]
        self.assertEqual([click[f"HR@{k}"][0] for k in (5, 10, 20)], [0.5, 0.75, 0.75])
        self.assertAlmostEqual(click["NDCG@5"], (1 + 1 / 2) / 4)
        self.assertAlmostEqual(click["NDCG@20"], (1 + 1 / 2 + 1 / math.log2(7)) / 4)
        self.assertEqual((result["purchase"]["count"], result["purchase"]["HR@5"][0]), (1, 1.0))
        self.assertEqual(summary(np.array([1]), np.array([0]))["purchase"], {"count": 0})

    def test_wilson_interval_matches_reference(self):
        low, high = wilson(10, 100)  # the textbook's .0552 and .1744
        self.assertAlmostEqual(low, 0.05523, places=5)
        self.assertAlmostEqual(high, 0.17437, places=5)


if __name__ == "__main__":
    unittest.main()
