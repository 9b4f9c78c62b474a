"""Training steps on a CPU, each case in a process of its own.

`best` is torch.compile with the fused Adam and an allocator that keeps large blocks of memory instead
of returning them to the system. `rank_ms_median` is the time of a batch of events: all items scored,
the target's rank and the 20 best; `one_ms_p50` and `one_ms_p99` are of one session's 20 best.
`base_rss_mb` is the memory before the model is built, `peak_rss_mb` the peak of the process, its
compiler included.
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

from data import Batch, random_batch
from methods import Head, build
from metrics import rank
from train import BATCH

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
BATCHES = 8


def laps(count: int, work) -> list[float]:
    """Milliseconds of `count` calls in ascending order, after three warm-up calls."""
    times = []
    for _ in range(count + 3):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times[3:])


def rank_times(model, batch: Batch, steps: int, compiled: bool) -> dict:
    """Times of ranking a batch, and of the 20 best items of its first row."""

    def recommend(model, batch: Batch):
        return model.scores(batch).topk(20)

    model.eval()
    one = Batch(*(field[:1] for field in batch))
    with torch.inference_mode():
        ranked = laps(steps, lambda work=torch.compile(rank) if compiled else rank: work(model, batch))
        single = laps(500, lambda work=torch.compile(recommend) if compiled else recommend: work(model, one))
    return {"rank_ms_median": statistics.median(ranked), "one_ms_p50": single[250], "one_ms_p99": single[495]}


def peak_rss_mb() -> float:
    """Peak resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(args: argparse.Namespace, encoder: str, method: str, items: int, mode: str):
    """Times one case and prints its line."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    Head.bf16 = mode == "bf16"
    keeps_memory = mode in ("best", "bf16")
    base = peak_rss_mb()
    model = build(method, encoder, items)
    loss = model if mode == "eager" else torch.compile(model)
    adam = torch.optim.Adam(model.parameters(), 0.005, fused=keeps_memory)
    batches = [random_batch(items, BATCH) for _ in range(BATCHES)]
    times = []
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        adam.zero_grad()
        loss(batches[step % BATCHES], *model.turn(step)).backward()
        adam.step()
        times.append(1e3 * (time.perf_counter() - start))
    times = times[args.warmup :]
    case = {"encoder": encoder, "method": method, "items": items, "mode": mode}
    memory = {"base_rss_mb": base, "peak_rss_mb": peak_rss_mb()}  # of training alone
    ranking = rank_times(model, batches[0], args.steps, mode != "eager")
    figures = {"step_ms_median": statistics.median(times), "step_ms_min": min(times), **ranking, **memory}
    settings = {"device": "cpu", "threads": args.threads, "torch": torch.__version__}
    print(json.dumps({**case, **settings, **figures}), flush=True)


def run(args: argparse.Namespace):
    """Times all cases of the flags."""
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
