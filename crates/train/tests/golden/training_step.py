"""Losses of four training steps of a GRU recommender under normal training, PRL, SQN and SAC, in PyTorch.

Writes training_step.safetensors beside this script: for each method the losses [4] before each update, f64.
Needs torch and safetensors: `python3 training_step.py`.

Parameter values are x[i] = scale sin(0.7 i + phase) in row-major order. The i-th parameter of a network, from
1, has phase i / 10, in the second network i / 10 + 3; a layer norm's gamma is 1 + its fill.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)

N, D, L, B, T = 7, 4, 5, 4, 6  # items, width, window, batch, time steps of the prompt block
GAMMA = 0.5
PAD = N  # the last session is empty: it reads the pad row once, and so the pad row is updated
ITEMS = torch.tensor([[0, 3, 6, 3, 1], [5, 2, 4, 7, 7], [6, 7, 7, 7, 7], [PAD] * L])
LENGTH, TARGET = torch.tensor([5, 3, 1, 1]), torch.tensor([2, 6, 0, 4])
REWARD, RATIO, STEP = torch.tensor([0.2, 1.0, 0.2, 1.0]), torch.tensor([0.5, 1.5, 0.8, 1.1]), torch.tensor([5, 3, 1, 0])
# The next states: the target is appended, and the oldest item of a full window dropped.
NEXT_ITEMS = torch.tensor([[3, 6, 3, 1, 2], [5, 2, 4, 6, 7], [6, 0, 7, 7, 7], [4, 7, 7, 7, 7]])
NEXT_LENGTH, DONE = torch.tensor([5, 4, 2, 1]), torch.tensor([0.0, 1.0, 0.0, 0.0])

VEC, MAT = (D,), (D, D)
ENDS = [("items", (N + 1, D)), ("W", (N, D)), ("b", (N,))]
GRU = [(k + g, MAT if k in "WU" else VEC) for g in "zgs" for k in "WUb"]
BLOCK = [("e_r", VEC), ("steps", (T, D)), ("gamma_in", VEC), ("beta_in", VEC), ("Wq", MAT), ("bq", VEC), ("Wk", MAT),
         ("bk", VEC), ("Wv", MAT), ("bv", VEC), ("gamma_out", VEC), ("beta_out", VEC)]
Q_HEAD = [("V", (N, D)), ("c", (N,))]


def fill(shape, phase, scale):
    return (scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)).reshape(shape)


def parameters(spec, offset=0):
    return {name: (("gamma" in name) + fill(shape, (i + 1) / 10 + offset, 0.5)).requires_grad_()
            for i, (name, shape) in enumerate(spec)}


def gru(p, items, length):
    """Final state of each session."""
    x, s, last = p["items"][items], torch.zeros(B, D), torch.zeros(B, D)
    for t in range(L):
        z, g = (torch.sigmoid(x[:, t] @ p["W" + k] + s @ p["U" + k] + p["b" + k]) for k in "zg")
        s = (1 - z) * s + z * torch.tanh(x[:, t] @ p["Ws"] + (g * s) @ p["Us"] + p["bs"])
        last = torch.where((length == t + 1)[:, None], s, last)
    return last


def prompt_block(p, state):
    P = torch.stack([RATIO[:, None] * p["e_r"], state, p["steps"][STEP]], 1)
    n = F.layer_norm(P, VEC, p["gamma_in"], p["beta_in"], 1e-8)
    q, k, v = n @ p["Wq"] + p["bq"], P @ p["Wk"] + p["bk"], P @ p["Wv"] + p["bv"]
    n = n + torch.softmax(q @ k.mT / math.sqrt(D), -1) @ v
    return F.layer_norm(n[:, 1], VEC, p["gamma_out"], p["beta_out"], 1e-8)


def cross_entropy(p, hidden):
    return F.cross_entropy(hidden @ p["W"].T + p["b"], TARGET, reduction="none")


def single(method):
    """Three updates, and the loss after the third."""
    p = parameters(ENDS + GRU + (BLOCK if method == "prl" else []))
    adam, losses = torch.optim.Adam(p.values(), lr=0.01), []
    for _ in range(4):
        hidden = gru(p, ITEMS, LENGTH)
        if method == "prl":
            loss = (REWARD * cross_entropy(p, prompt_block(p, hidden))).mean()
        else:
            loss = cross_entropy(p, hidden).mean()
        adam.zero_grad(); loss.backward(); adam.step(); losses.append(loss.item())
    return torch.tensor(losses)


def double(method):
    nets = [parameters(ENDS + GRU + Q_HEAD, 3 * n) for n in (0, 1)]
    adams, losses = [torch.optim.Adam(p.values(), lr=0.01) for p in nets], []
    q = lambda p, s: s @ p["V"].T + p["c"]
    for main in [0, 1, 0, 1]:
        p, other = nets[main], nets[1 - main]
        s = gru(p, ITEMS, LENGTH)
        with torch.no_grad():
            best = q(p, gru(p, NEXT_ITEMS, NEXT_LENGTH)).argmax(1, keepdim=True)
            next_q = q(other, gru(other, NEXT_ITEMS, NEXT_LENGTH)).gather(1, best)[:, 0]
            target = REWARD + GAMMA * (1 - DONE) * next_q
        value = q(p, s).gather(1, TARGET[:, None])[:, 0]
        ce = cross_entropy(p, s)
        loss = ((value.detach() * ce if method == "sac" else ce) + 0.5 * (target - value) ** 2).mean()
        adams[main].zero_grad(); loss.backward(); adams[main].step(); losses.append(loss.item())
    return torch.tensor(losses)


losses = {m: single(m) for m in ("normal", "prl")} | {m: double(m) for m in ("sqn", "sac")}
save_file(losses, Path(__file__).with_suffix(".safetensors"))
