"""Loss and gradients of the similarity head in PyTorch.

Run: python3 similarity_head.py (torch and safetensors; writes the .safetensors file beside it).
"""
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)


def fill(shape, phase, scale=1.0):
    """x[i] = scale * sin(0.7 i + phase), row-major."""
    values = scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)
    return values.reshape(shape).requires_grad_()


ITEMS, D, TAU = 9, 4, 0.25
WINDOWS = [[5, 3, 5], [2], [], [0, 8, 1]]  # own items, the oldest first
PURCHASED = [{5}, set(), set(), {8, 1}]
SMOOTHING = 0.125  # of the mode "events"
TARGETS = torch.tensor([5, 4, 7, 6])
WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.4])

golden = {}
for mode in ["learned", "exclude", "events"]:
    emb = fill((ITEMS + 1, D), 0.1)  # the last row is the pad's
    bias, own = fill((ITEMS,), 0.2, 0.5), fill((3,), 0.3, 0.5)
    events = fill((4,), 0.7, 0.5)  # a purchased item; 2, 3, 4 and more events
    state = fill((len(WINDOWS), D), 0.4)
    h = state / state.norm(dim=1, keepdim=True)
    e = emb[:ITEMS] / emb[:ITEMS].norm(dim=1, keepdim=True)
    offsets = []
    for items, purchased, target in zip(WINDOWS, PURCHASED, TARGETS.tolist()):
        row = [torch.tensor(0.0)] * ITEMS
        for item in set(items):
            lag = items[::-1].index(item)
            if mode != "exclude":
                row[item] = own[lag]
            elif item != target:
                row[item] = torch.tensor(-torch.inf)
            if mode == "events":
                repeats = items.count(item) - 1
                row[item] = row[item] + events[0] * (item in purchased)
                row[item] = row[item] + events[repeats] * (repeats > 0)
        offsets.append(torch.stack(row))
    plain = h @ e.T / TAU + bias
    scores = plain + torch.stack(offsets)
    losses = scores.logsumexp(1) - scores.gather(1, TARGETS[:, None])[:, 0]
    if mode == "events":
        losses = losses + SMOOTHING * (plain.gather(1, TARGETS[:, None])[:, 0] - plain.mean(1))
    loss = (WEIGHTS * losses).sum()
    h.retain_grad()
    loss.backward()
    golden |= {
        f"{mode}.loss": loss.reshape(1), f"{mode}.grad.hidden": h.grad,
        f"{mode}.grad.item_emb.weight": emb.grad, f"{mode}.grad.head.bias": bias.grad,
    }
    if mode != "exclude":
        golden[f"{mode}.grad.head.own_bias"] = own.grad
    if mode == "events":
        golden[f"{mode}.grad.head.own_event_bias"] = events.grad
    golden |= {"hidden": h, "item_emb.weight": emb, "head.bias": bias, "head.own_bias": own,
               "head.own_event_bias": events}
golden = {name: t.detach().contiguous().clone() for name, t in golden.items()}
save_file(golden, Path(__file__).with_suffix(".safetensors"))
