"""States and gradients of NextItNet in PyTorch.

Run: python3 nextitnet.py (torch and safetensors; writes the .safetensors file beside it).
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


B, L, D = 3, 10, 3
lengths = torch.tensor([10, 4, 1])
xs = fill((B, L, D), 0.1)
p = {}
for i in range(6):
    for half in [1, 2]:
        at = 0.2 + i + 0.37 * half
        p[f"blocks.{i}.conv{half}.weight"] = fill((D, D, 3), at)
        p[f"blocks.{i}.conv{half}.bias"] = fill((D,), at + 0.1)
        p[f"blocks.{i}.norm{half}.weight"] = fill((D,), at + 0.2, 0.3, 1.0)
        p[f"blocks.{i}.norm{half}.bias"] = fill((D,), at + 0.3)


def half(ys, block, half, dilation):
    weight, bias = p[f"blocks.{block}.conv{half}.weight"], p[f"blocks.{block}.conv{half}.bias"]
    ys = F.conv1d(F.pad(ys.mT, (2 * dilation, 0)), weight, bias, dilation=dilation).mT
    scale, shift = p[f"blocks.{block}.norm{half}.weight"], p[f"blocks.{block}.norm{half}.bias"]
    return F.relu(F.layer_norm(ys, (D,), scale, shift, eps=1e-8))


mask = (torch.arange(L)[None] < lengths[:, None])[..., None].double()
ys = xs * mask
for i, k in enumerate([1, 2, 1, 2, 1, 2]):
    ys = (ys + half(half(ys, i, 1, k), i, 2, 2 * k)) * mask
s = ys[torch.arange(B), lengths - 1]
(s * fill(s.shape, 2.0)).sum().backward()

golden = {"xs": xs, "grad.xs": xs.grad, "state": s, "lengths": lengths}
for name, w in p.items():
    golden |= {f"param.{name}": w, f"grad.{name}": w.grad}
golden = {name: t.detach().contiguous() for name, t in golden.items()}
save_file(golden, Path(__file__).with_suffix(".safetensors"))
