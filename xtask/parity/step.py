"""Milliseconds of a training step on random data, one JSON line for each encoder, method, item count and mode.

`eager` is PyTorch as it comes, `compiled` is torch.compile, `best` adds the fused Adam and keeps large blocks of memory
instead of returning them to the system. Each case is timed in a process of its own. `base_rss_mb` is what that process
held before there was a model, `peak_rss_mb` the most it ever held, its compiler included.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path

import torch

from data import STEPS, WINDOW, Batch
from encoders import ENCODERS
from methods import METHODS, Head, build
from train import BATCH

MODES = ("eager", "compiled", "best")
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
BATCHES = 8


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=["gru"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["normal"])
    parser.add_argument("--items", nargs="+", type=int, default=[26702, 70852])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--bf16", action="store_true", help="the output layer's products in bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=10, help="steps before the clock")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    return parser.parse_args()


def random_batch(item_num: int) -> Batch:
    """Rows of full and of padded windows."""
    slots = torch.arange(WINDOW)

    def windows():
        lengths = torch.randint(1, WINDOW + 1, (BATCH,))
        items = torch.randint(item_num, (BATCH, WINDOW))
        return torch.where(slots < lengths[:, None], items, item_num), lengths

    steps, targets = torch.randint(STEPS, (BATCH,)), torch.randint(item_num, (BATCH,))
    rewards = torch.where(torch.rand(BATCH) < 0.05, 1.0, 0.2)
    return Batch(*windows(), steps, torch.rand(BATCH) * 2, targets, rewards, *windows(), torch.rand(BATCH) < 0.2)


def peak_rss_mb() -> float:
    """The most memory this process has held, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(args: argparse.Namespace, encoder: str, method: str, items: int, mode: str):
    """Times one case and prints its line."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    Head.bf16 = args.bf16
    base = peak_rss_mb()
    model = build(method, encoder, items)
    loss = model if mode == "eager" else torch.compile(model)
    adam = torch.optim.Adam(model.parameters(), 0.005, fused=mode == "best")
    batches = [random_batch(items) for _ in range(BATCHES)]
    times = []
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        adam.zero_grad()
        loss(batches[step % BATCHES], *model.turn(step)).backward()
        adam.step()
        times.append(1e3 * (time.perf_counter() - start))
    times = times[args.warmup :]
    case = {"encoder": encoder, "method": method, "items": items, "mode": mode, "bf16": args.bf16}
    memory = {"base_rss_mb": base, "peak_rss_mb": peak_rss_mb()}
    figures = {"step_ms_median": statistics.median(times), "step_ms_min": min(times), **memory}
    print(json.dumps({**case, "threads": args.threads, "torch": torch.__version__, **figures}), flush=True)


def main():
    args = arguments()
    spawn = multiprocessing.get_context("spawn")
    for case in itertools.product(args.encoders, args.methods, args.items, args.modes):
        # The allocator reads its settings when a process starts.
        for name, value in KEEP_MEMORY.items():
            os.environ.pop(name, None) if case[-1] != "best" else os.environ.update({name: value})
        child = spawn.Process(target=measure, args=(args, *case))
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit(f"{' '.join(map(str, case))}: the process ended with {child.exitcode}")


if __name__ == "__main__":
    main()
