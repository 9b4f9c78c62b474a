"""States and gradients of the GRU (Eq. 8) in PyTorch.

Run: python3 gru.py (torch and safetensors; writes the .safetensors file beside it).
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


B, L, D = 4, 5, 3
lengths = torch.tensor([5, 3, 1, 4])
xs = fill((B, L, D), 0.1)
p = {
    "weight_ih": fill((3 * D, D), 0.2, 0.5),
    "weight_hh": fill((3 * D, D), 0.3, 0.5),
    "bias": fill((3 * D,), 0.4, 0.5),
}
w_z, w_r, w_c = p["weight_ih"].chunk(3)
u_z, u_r, u_c = p["weight_hh"].chunk(3)
b_z, b_r, b_c = p["bias"].chunk(3)
s = torch.zeros(B, D)
for t in range(L):
    x = xs[:, t]
    z = torch.sigmoid(x @ w_z.T + s @ u_z.T + b_z)
    r = torch.sigmoid(x @ w_r.T + s @ u_r.T + b_r)
    c = torch.tanh(x @ w_c.T + (r * s) @ u_c.T + b_c)
    s = torch.where((t < lengths)[:, None], (1 - z) * s + z * c, s)
(s * fill(s.shape, 2.0)).sum().backward()

golden = {"xs": xs, "grad.xs": xs.grad, "state": s, "lengths": lengths}
for name, w in p.items():
    golden |= {f"param.{name}": w, f"grad.{name}": w.grad}
golden = {name: t.detach().contiguous() for name, t in golden.items()}
save_file(golden, Path(__file__).with_suffix(".safetensors"))
