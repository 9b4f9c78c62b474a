"""Golden numbers of the GRU of Eq. 8: python3 gru.py (needs torch and safetensors).

The state at the last valid step of three windows, and the gradients of its weighted sum, in f64;
the reset gate is applied to the state before the recurrent product. `grad.kernel` is
[input + d + 1, 3 d]: input weights, state weights and bias; columns update, reset, candidate.
Writes gru.safetensors beside this file.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file


def fill(shape, phase, scale):
    """x[i] = scale * sin(0.7 i + phase), row-major, in f64."""
    n = torch.Size(shape).numel()
    return (scale * torch.sin(0.7 * torch.arange(n).double() + phase)).reshape(shape)


B, L, D_IN, D = 3, 5, 3, 4
lengths = torch.tensor([5, 2, 1])
p = {}
for i, gate in enumerate("zgs"):  # update, reset, candidate
    for j, (k, s) in enumerate([("W", (D_IN, D)), ("U", (D, D)), ("b", (D,))]):
        p[k + gate] = fill(s, 0.1 * (3 * i + j + 1), 0.5).requires_grad_()
x = fill((B, L, D_IN), 1.0, 1.0).requires_grad_()

s, states = torch.zeros(B, D, dtype=torch.float64), []
for t in range(L):
    z = torch.sigmoid(x[:, t] @ p["Wz"] + s @ p["Uz"] + p["bz"])
    g = torch.sigmoid(x[:, t] @ p["Wg"] + s @ p["Ug"] + p["bg"])
    c = torch.tanh(x[:, t] @ p["Ws"] + (g * s) @ p["Us"] + p["bs"])
    s = (1 - z) * s + z * c
    states.append(s)
last = torch.stack(states, 1)[torch.arange(B), lengths - 1]
(last * fill((B, D), 2.0, 1.0)).sum().backward()

rows = [torch.cat([p[k + g].grad.reshape(-1, D) for g in "zgs"], 1) for k in "WUb"]
out = {"state": last.detach(), "grad.x": x.grad, "grad.kernel": torch.cat(rows)}
save_file({k: v.contiguous() for k, v in out.items()}, Path(__file__).with_suffix(".safetensors"))
