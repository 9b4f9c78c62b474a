"""States and gradients of CORE's attention in PyTorch.

Run: python3 core.py (torch and safetensors; writes the .safetensors file beside it).
"""
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)


def fill(shape, phase, scale=1.0, offset=0.0):
    """x[i] = offset + scale * sin(0.7 i + phase), row-major."""
    values = offset + scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)
    return values.reshape(shape).requires_grad_()


B, L, D = 4, 5, 3
lengths = torch.tensor([5, 3, 1, 4])
xs = fill((B, L, D), 0.1)
p = {
    "q_proj.weight": fill((D, D), 0.2, 0.5),
    "q_proj.bias": fill((D,), 0.3, 0.5),
    "k_proj.weight": fill((D, D), 0.4, 0.5),
    "k_proj.bias": fill((D,), 0.5, 0.5),
    "lag_bias": fill((L,), 0.6, 0.5),
}
states = []
for b, n in enumerate(lengths.tolist()):
    x = xs[b, :n]
    q = x[-1] @ p["q_proj.weight"].T + p["q_proj.bias"]
    k = x @ p["k_proj.weight"].T + p["k_proj.bias"]
    lag = torch.arange(n - 1, -1, -1)
    a = torch.softmax(k @ q / math.sqrt(D) - 0.3 * lag + p["lag_bias"][lag], 0)
    states.append(a @ x)
s = torch.stack(states)
(s * fill(s.shape, 2.0)).sum().backward()

golden = {"xs": xs, "grad.xs": xs.grad, "state": s, "lengths": lengths}
for name, w in p.items():
    golden |= {f"param.{name}": w, f"grad.{name}": w.grad}
golden = {name: t.detach().contiguous() for name, t in golden.items()}
save_file(golden, Path(__file__).with_suffix(".safetensors"))
