"""Training steps on a GPU, all cases in one process: PyTorch is imported once, and a repeated case is
not compiled again.

A step starts at the host: its batch is copied from pinned memory. Steps are queued without waiting;
events on the GPU measure their times. A ranking ends when its results are at the host. Everything is
fp32, convolutions too, where PyTorch's default is TF32. `best` is the faster of two ways to launch
torch.compile's output, with the fused Adam and cuDNN's autotuning: its `reduce-overhead`, in which
forward and backward pass are CUDA graphs, and one CUDA graph of the whole step. `bf16` is the same with
the output layer in bfloat16. Tuning each product (`max-autotune`) is left out: it takes minutes per
case.

`peak_device_mb` is the peak of the GPU's memory in training after the first step, which compiles;
`loss` is the last step's, about equal in all modes of a case, as they start from equal weights.
"""

import argparse
import gc
import itertools
import json
import random
import statistics
import sys

import torch

from data import Batch, random_batch
from methods import Head, build
from metrics import rank
from step_cpu import BATCHES, laps
from train import BATCH

# Launch methods of each mode; the fastest counts.
WAYS = {
    "eager": ["eager"],
    "compiled": ["compiled"],
    "best": ["reduce-overhead", "one graph"],
    "bf16": ["reduce-overhead", "one graph"],
}


def block(batch: Batch) -> torch.Tensor:
    """All bytes of a batch, field by field."""
    return torch.cat([field.contiguous().view(torch.uint8).flatten() for field in batch])


def fields(block: torch.Tensor, like: Batch) -> Batch:
    """Batch in a block of bytes: tensors that share its memory without being views for autograd."""
    found, start = [], 0
    for field in like:
        own = torch.empty(0, dtype=field.dtype, device=block.device)
        found.append(own.set_(block.untyped_storage(), start // field.itemsize, field.shape))
        start += field.nbytes
    return Batch(*found)


class Feed:
    """Device memory that the model reads its batch from, and pinned host copies to fill it."""

    def __init__(self, items: int, device: str):
        batches = [random_batch(items, BATCH) for _ in range(BATCHES)]
        self.hosts = [block(batch).pin_memory() for batch in batches]
        self.place = torch.empty_like(self.hosts[0], device=device)
        self.batch = fields(self.place, batches[0])

    def fill(self, step: int):
        """Copies the batch of a step to the device."""
        self.place.copy_(self.hosts[step % BATCHES], non_blocking=True)


class Graph:
    """CUDA graph of a function: captured at its fourth call, replayed into the same tensors after."""

    def __init__(self, work):
        self.work, self.calls, self.stream = work, 0, torch.cuda.Stream()

    def __call__(self):
        self.calls += 1
        if self.calls <= 3:
            here = torch.cuda.current_stream()
            self.stream.wait_stream(here)
            with torch.cuda.stream(self.stream):
                out = self.work()
            here.wait_stream(self.stream)
            return out
        if self.calls == 4:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.out = self.work()
        self.graph.replay()
        return self.out


class Trial:
    """A model in training with one launch method."""

    def __init__(self, args: argparse.Namespace, case: tuple[str, str, int], mode: str, way: str):
        encoder, method, items = case
        torch.manual_seed(0)
        random.seed(0)
        self.way, self.taken, self.updates, self.ranker = way, 0, {}, None
        self.is_best = mode in ("best", "bf16")
        torch.backends.cudnn.benchmark = self.is_best
        base = torch.cuda.memory_allocated()
        self.model = build(method, encoder, items).to(args.device)
        for module in self.model.modules():
            if isinstance(module, Head):
                module.bf16 = mode == "bf16"
        self.loss = self.compiled(self.model)
        fused = {"fused": True, "capturable": True} if self.is_best else {}
        self.adam = torch.optim.Adam(self.model.parameters(), 0.005, **fused)
        self.feed = Feed(items, args.device)
        for _ in range(args.warmup):
            self.step()
        torch.cuda.synchronize()
        self.peak_mb = (torch.cuda.max_memory_allocated() - base) / 2**20

    def compiled(self, work):
        """The function as this launch method runs it."""
        match self.way:
            case "eager":
                return work
            case "reduce-overhead":
                return torch.compile(work, mode="reduce-overhead")
            case _:
                return torch.compile(work)

    def begin(self):
        """Marks a step, so that `reduce-overhead` may overwrite tensors that it returned before."""
        if self.way == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()

    def update(self, turn: tuple) -> torch.Tensor:
        """One update on the batch in device memory; returns its loss."""
        self.adam.zero_grad()
        loss = self.loss(self.feed.batch, *turn)
        loss.backward()
        self.adam.step()
        return loss.detach()

    def step(self) -> torch.Tensor:
        """One step including the copy of its batch; returns its loss."""
        turn = self.model.turn(self.taken)
        self.feed.fill(self.taken)
        self.begin()
        if turn not in self.updates:
            update = lambda: self.update(turn)
            self.updates[turn] = Graph(update) if self.way == "one graph" else update
        loss = self.updates[turn]()
        self.taken += 1
        if self.taken == 1:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        return loss

    def steps(self, count: int) -> dict:
        """Times of some steps after three warm-up steps."""
        self.model.train()
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 4)]
        for mark in marks:
            loss = self.step()
            mark.record()
        torch.cuda.synchronize()
        times = [start.elapsed_time(end) for start, end in itertools.pairwise(marks[3:])]
        return {"step_ms_median": statistics.median(times), "step_ms_min": min(times), "loss": loss.item()}

    def rank(self):
        """Ranks a batch from host memory to host memory."""
        self.feed.fill(0)
        if self.ranker is None:
            ranker = self.compiled(rank)
            work = lambda: ranker(self.model, self.feed.batch)
            self.ranker = Graph(work) if self.way == "one graph" else work
        self.begin()
        ranks, best = self.ranker()
        for result in (ranks, *best):
            result.to("cpu", non_blocking=True)
        torch.cuda.synchronize()

    def figures(self, count: int) -> dict:
        """Figures of training and ranking."""
        torch.backends.cudnn.benchmark = self.is_best
        trained = self.steps(count)
        self.model.eval()
        with torch.no_grad():
            ranked = statistics.median(laps(count, self.rank))
        return {**trained, "rank_ms_median": ranked, "peak_device_mb": self.peak_mb, "way": self.way}


class Trials:
    """The trials of the last case, kept compiled for the next round."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.case, self.trials = args, None, {}

    def time(self, case: tuple[str, str, int]) -> list[dict]:
        """One line for each mode."""
        if case != self.case:
            self.trials.clear()
            gc.collect()
            torch.compiler.reset()
            torch.cuda.empty_cache()
            self.case = case
        lines = [self.line(mode) for mode in self.args.modes]
        losses = {line["mode"]: round(line["loss"], 4) for line in lines}
        if not max(losses.values()) < 1.05 * min(losses.values()):
            print(f"{case}: the losses differ: {losses}", file=sys.stderr)
        return lines

    def line(self, mode: str) -> dict:
        """Figures of a mode's fastest launch method, chosen separately for training and ranking."""
        ways = [figures for way in WAYS[mode] if (figures := self.figures(mode, way))]
        fastest = min(ways, key=lambda way: way["step_ms_median"])
        ranked = min(way["rank_ms_median"] for way in ways)
        encoder, method, items = self.case
        settings = {"device": torch.cuda.get_device_name(), "threads": self.args.threads, "torch": torch.__version__}
        case = {"encoder": encoder, "method": method, "items": items, "mode": mode}
        return {**case, **settings, **fastest, "rank_ms_median": ranked}

    def figures(self, mode: str, way: str) -> dict | None:
        """Figures of a launch method; `None` if this version of PyTorch does not support it."""
        try:
            if (mode, way) not in self.trials:
                self.trials[mode, way] = None
                self.trials[mode, way] = Trial(self.args, self.case, mode, way)
            trial = self.trials[mode, way]
            return trial and trial.figures(self.args.steps)
        except (RuntimeError, AssertionError) as error:
            if len(WAYS[mode]) == 1:
                raise
            print(f"{self.case}, {mode}: {way} fails: {error}", file=sys.stderr)
            self.trials[mode, way] = None
            return None


def run(args: argparse.Namespace):
    """Times all cases of the flags or of the input; an empty line ends the output of each."""
    import torch._inductor.config  # what a CPU's process holds is measured: it imports nothing needlessly

    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False
    # Modes and turns of one case are versions of the same code.
    torch._dynamo.config.recompile_limit = 64
    # What is fastest is not to be learned while other processes that fill the cache are at work.
    torch._inductor.config.autotune_local_cache = False
    if args.warm_only:
        args.steps = 1
    trials = Trials(args)
    if args.ask:
        for line in sys.stdin:
            encoder, method, items = line.split()
            for found in trials.time((encoder, method, int(items))):
                print(json.dumps(found))
            print(flush=True)
        return
    for case in itertools.product(args.encoders, args.methods, args.items):
        for found in trials.time(case):
            if not args.warm_only:
                print(json.dumps(found), flush=True)
