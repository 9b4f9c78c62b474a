"""Milliseconds of a training step and of ranking on random data, one JSON line for each encoder, method, item count and mode.

`eager` is PyTorch as it comes, `compiled` is torch.compile, `best` adds the fused Adam and keeps large blocks of memory
instead of returning them to the system, `bf16` adds an output layer in bfloat16. `rank_ms_median` is for a batch of events: all
items scored, the target's rank and the 20 best; `one_ms_p50` and `one_ms_p99` for one session's 20 best. Each case is timed in a process of its own. `base_rss_mb` is what that process
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

MODES = ("eager", "compiled", "best", "bf16")
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
BATCHES = 8


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=["gru"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["normal"])
    parser.add_argument("--items", nargs="+", type=int, default=[26702, 70852])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=10, help="steps before the clock")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    return parser.parse_args()


def random_batch(item_num: int, device: str) -> Batch:
    """Rows of full and of padded windows."""
    slots = torch.arange(WINDOW)

    def windows():
        lengths = torch.randint(1, WINDOW + 1, (BATCH,))
        items = torch.randint(item_num, (BATCH, WINDOW))
        return torch.where(slots < lengths[:, None], items, item_num), lengths

    steps, targets = torch.randint(STEPS, (BATCH,)), torch.randint(item_num, (BATCH,))
    rewards = torch.where(torch.rand(BATCH) < 0.05, 1.0, 0.2)
    fields = *windows(), steps, torch.rand(BATCH) * 2, targets, rewards, *windows(), torch.rand(BATCH) < 0.2
    return Batch(*(field.to(device) for field in fields))


def settle(device: str):
    """Waits for what a GPU was asked to do."""
    if device != "cpu":
        torch.cuda.synchronize()


def laps(count: int, device: str, work) -> list[float]:
    """Milliseconds of each of some calls, in ascending order; a few calls before them are not timed."""
    times = []
    for _ in range(count + 3):
        start = time.perf_counter()
        work()
        settle(device)
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times[3:])


def rank_times(model, batch: Batch, steps: int, device: str, compiled: bool) -> dict:
    """Times of ranking a batch, and of the 20 best of its first row."""

    def rank(batch: Batch):
        scores = model.scores(batch)
        return (scores >= scores.gather(1, batch.targets[:, None])).sum(1), scores.topk(20)

    def recommend(batch: Batch):
        return model.scores(batch).topk(20)

    model.eval()
    one = Batch(*(field[:1] for field in batch))
    with torch.inference_mode():
        ranked = laps(steps, device, lambda work=torch.compile(rank) if compiled else rank: work(batch))
        single = laps(500, device, lambda work=torch.compile(recommend) if compiled else recommend: work(one))
    return {"rank_ms_median": statistics.median(ranked), "one_ms_p50": single[250], "one_ms_p99": single[495]}


def peak_rss_mb() -> float:
    """The most memory this process has held, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(args: argparse.Namespace, encoder: str, method: str, items: int, mode: str):
    """Times one case and prints its line."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    Head.bf16 = mode == "bf16"
    keeps_memory = mode in ("best", "bf16")
    base = peak_rss_mb()
    model = build(method, encoder, items).to(args.device)
    loss = model if mode == "eager" else torch.compile(model)
    adam = torch.optim.Adam(model.parameters(), 0.005, fused=keeps_memory)
    batches = [random_batch(items, args.device) for _ in range(BATCHES)]
    times = []
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        adam.zero_grad()
        loss(batches[step % BATCHES], *model.turn(step)).backward()
        adam.step()
        settle(args.device)
        times.append(1e3 * (time.perf_counter() - start))
    times = times[args.warmup :]
    case = {"encoder": encoder, "method": method, "items": items, "mode": mode}
    memory = {"base_rss_mb": base, "peak_rss_mb": peak_rss_mb()}  # of training alone
    ranking = rank_times(model, batches[0], args.steps, args.device, mode != "eager")
    figures = {"step_ms_median": statistics.median(times), "step_ms_min": min(times), **ranking, **memory}
    print(json.dumps({**case, "device": args.device, "threads": args.threads, "torch": torch.__version__, **figures}), flush=True)


def main():
    args = arguments()
    spawn = multiprocessing.get_context("spawn")
    for case in itertools.product(args.encoders, args.methods, args.items, args.modes):
        # The allocator reads its settings when a process starts.
        for name, value in KEEP_MEMORY.items():
            os.environ.pop(name, None) if case[-1] not in ("best", "bf16") else os.environ.update({name: value})
        child = spawn.Process(target=measure, args=(args, *case))
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit(f"{' '.join(map(str, case))}: the process ended with {child.exitcode}")


if __name__ == "__main__":
    main()
