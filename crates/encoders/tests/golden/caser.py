"""States and gradients of Caser in PyTorch.

Run: python3 caser.py (torch and safetensors; writes the .safetensors file beside it).
"""
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)


def fill(shape, phase, scale=1.0, offset=0.0):
    """x[i] = offset + scale * sin(0.7 i + phase), row-major."""
    values = offset + scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)
    return values.reshape(shape).requires_grad_()


B, L, D, FILTERS = 4, 5, 3, 16
lengths = torch.tensor([5, 3, 1, 4])
xs = fill((B, L, D), 0.1)
p = {}
for i, h in enumerate([2, 3, 4]):
    p[f"conv_h.{i}.weight"] = fill((FILTERS, 1, h, D), 0.2 + i, 0.5)
    p[f"conv_h.{i}.bias"] = fill((FILTERS,), 0.25 + i, 0.5)
p["conv_v.weight"] = fill((1, 1, L, 1), 0.3, 0.5)
p["conv_v.bias"] = fill((1,), 0.35, 0.5)
mask = (torch.arange(L)[None] < lengths[:, None])[..., None].double()
image = (xs * mask)[:, None]  # [B, 1, L, D]
state = []
for i in range(3):
    c = F.relu(F.conv2d(image, p[f"conv_h.{i}.weight"], p[f"conv_h.{i}.bias"]))
    state.append(c.max(2).values.flatten(1))
state.append(F.relu(F.conv2d(image, p["conv_v.weight"], p["conv_v.bias"])).flatten(1))
s = torch.cat(state, 1)
(s * fill(s.shape, 2.0)).sum().backward()

golden = {"xs": xs, "grad.xs": xs.grad, "state": s, "lengths": lengths}
for name, w in p.items():
    golden |= {f"param.{name}": w, f"grad.{name}": w.grad}
golden = {name: t.detach().contiguous() for name, t in golden.items()}
save_file(golden, Path(__file__).with_suffix(".safetensors"))
