"""Golden numbers of the softmax head: python3 softmax_head.py (needs torch and safetensors).

Weighted cross-entropy, its gradients and the pessimistic ranks of the targets, in f64; then the
same cross-entropy on operands rounded to bfloat16. Writes softmax_head.safetensors beside this file.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file


def fill(shape, phase, scale):
    """x[i] = scale * sin(0.7 i + phase), row-major, in f64."""
    n = torch.Size(shape).numel()
    return (scale * torch.sin(0.7 * torch.arange(n).double() + phase)).reshape(shape)


def weighted_ce(logits, target, weights):
    """Cross-entropies; back-propagates their weighted mean."""
    ce = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    (weights * ce).mean().backward()
    return ce.detach()


out = {}
target = torch.tensor([2, 0, 6, 5, 3])
# An example of weight zero counts in the mean and has no gradient.
weights = torch.tensor([0.2, 1.0, 0.2, 1.0, 0.0], dtype=torch.float64)

hidden, weight, bias = fill((5, 4), 0.1, 1.0), fill((7, 4), 0.2, 0.8), fill((7,), 0.3, 0.5)
weight[5], bias[5] = weight[2].clone(), bias[2].clone()  # items 2 and 5 always tie
params = {"hidden": hidden, "weight": weight, "bias": bias}
for p in params.values():
    p.requires_grad_()
logits = hidden @ weight.T + bias
out["ce"] = weighted_ce(logits, target, weights)
for name, p in params.items():
    out[f"grad.{name}"] = p.grad
# The mean of the tied scores makes them equal however the product was summed.
tied = logits[:, [2, 5]].mean(1, keepdim=True).detach()
scores = logits.detach().index_copy(1, torch.tensor([2, 5]), tied.expand(5, 2))
out["rank"] = (scores >= scores.gather(1, target[:, None])).sum(1)

hidden, weight, bias = (
    fill((5, 3), 0.1, 1.0).float(),
    fill((7, 3), 0.2, 1.0).float(),
    fill((7,), 0.3, 0.5).float(),
)
params = {"hidden": hidden, "weight": weight, "bias": bias}
for p in params.values():
    p.requires_grad_()
logits = hidden.bfloat16().double() @ weight.bfloat16().double().T + bias.double()
out["bf16.ce"] = weighted_ce(logits, target, weights)
for name, p in params.items():
    out[f"bf16.grad.{name}"] = p.grad

save_file({k: v.contiguous() for k, v in out.items()}, Path(__file__).with_suffix(".safetensors"))
