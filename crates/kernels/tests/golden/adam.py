"""Golden numbers of Adam: python3 adam.py (needs torch and safetensors).

Five steps of torch.optim.Adam on a [3, 4] parameter in f64; row 1 has a gradient in the first step
only and moves in all five. Writes adam.safetensors beside this file.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file


def fill(shape, phase, scale):
    """x[i] = scale * sin(0.7 i + phase), row-major, in f64."""
    n = torch.Size(shape).numel()
    return (scale * torch.sin(0.7 * torch.arange(n).double() + phase)).reshape(shape)


out = {}
p = fill((3, 4), 0.5, 1.0).requires_grad_()
adam = torch.optim.Adam([p], lr=0.01, betas=(0.9, 0.999), eps=1e-8)
for k in range(5):
    p.grad = fill((3, 4), float(k), 1.0)
    if k > 0:
        p.grad[1] = 0
    adam.step()
    if k in (0, 4):
        out[f"step_{k + 1}"] = p.detach().clone()
save_file(out, Path(__file__).with_suffix(".safetensors"))
