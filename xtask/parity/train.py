"""Trains one model on a prepared dataset and tests its best validation once; prints one JSON object."""

import argparse
import copy
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data import TEST, TRAIN, VAL, Sessions
from encoders import ENCODERS
from methods import METHODS, build
from metrics import ranks, summary

BATCH = 256
EVAL_BATCH = 512


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset")
    parser.add_argument("--encoder", choices=ENCODERS, required=True)
    parser.add_argument("--method", choices=METHODS, default="normal")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--eval-every", type=int, required=True, metavar="STEPS")
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--warmup", type=int, default=0, help="steps before the critic weights the actor of sac")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result here")
    return parser.parse_args()


@torch.no_grad()
def evaluate(model: nn.Module, sessions: Sessions, split: int) -> dict:
    """Ranks every event of a split among all items."""
    model.eval()
    rows = sessions.rows(split)
    chunks = (sessions.batch(rows[i : i + EVAL_BATCH]) for i in range(0, len(rows), EVAL_BATCH))
    rank = torch.cat([ranks(model.scores(batch), batch.targets) for batch in chunks])
    model.train()
    return summary(rank.numpy(), sessions.kinds[rows])


def quality(val: dict) -> float:
    """Selection metric of a checkpoint: purchase HR@5, or click HR@5 without purchases."""
    return (val["purchase"] if val["purchase"]["count"] else val["click"])["HR@5"][0]


class Trainer:
    """A model, its optimiser and its training examples."""

    def __init__(self, model: nn.Module, sessions: Sessions, lr: float, seed: int):
        self.model, self.sessions = model, sessions
        self.optimiser = torch.optim.Adam(model.parameters(), lr)
        self.rows, self.draws = sessions.rows(TRAIN), np.random.default_rng(seed)

    def step(self, step: int) -> float:
        """One update on a random batch; returns its loss."""
        batch = self.sessions.batch(self.draws.choice(self.rows, BATCH))
        loss = self.model(batch, *self.model.turn(step))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()


def train(args: argparse.Namespace) -> dict:
    """Trains with validations every `eval_every` steps and tests the best checkpoint."""
    sessions = Sessions(args.data)
    model = build(args.method, args.encoder, sessions.item_num, args.warmup)
    trainer = Trainer(model, sessions, args.lr, args.seed)
    curve, best, seconds = [], None, 0.0
    for done in range(0, args.steps, args.eval_every):
        start = time.perf_counter()
        upto = min(done + args.eval_every, args.steps)
        losses = [trainer.step(step) for step in range(done, upto)]
        seconds += time.perf_counter() - start
        val = evaluate(model, sessions, VAL)
        curve.append({"step": upto, "loss": float(np.mean(losses)), "val": val})
        if best is None or quality(val) > quality(best["val"]):
            best, weights = curve[-1], copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return {
        "dataset": sessions.name,
        "train_seconds": seconds,
        "best_step": best["step"],
        "val": best["val"],
        "test": evaluate(model, sessions, TEST),
        "curve": curve,
    }


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    start = time.perf_counter()
    options = {name: value for name, value in vars(args).items() if name not in ("data", "json")}
    result = {**options, "torch": torch.__version__, "ties": "pessimistic", **train(args)}
    text = json.dumps(result | {"seconds": time.perf_counter() - start})
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
