"""State, outputs at every position, and gradients of SASRec in PyTorch.

Run: python3 sasrec.py (torch and safetensors; writes the .safetensors file beside it).
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


B, L, D = 3, 5, 4
lengths = torch.tensor([5, 3, 1])
p = {"xs": fill((B, L, D), 0.1), "position_emb.weight": fill((L, D), 0.2)}
norms = ["attn_norm", "ffn_norm", "last_norm"]
linears = ["attn.q_proj", "attn.k_proj", "attn.v_proj", "ffn.fc1", "ffn.fc2"]
for i, name in enumerate(norms):
    p[f"{name}.weight"] = fill((D,), 1.3 + i, 0.1, 1.0)
    p[f"{name}.bias"] = fill((D,), 1.4 + i, 0.1)
for i, name in enumerate(linears):
    p[f"{name}.weight"] = fill((D, D), 4.5 + i, 0.5)
    p[f"{name}.bias"] = fill((D,), 4.6 + i, 0.5)


def norm(t, name):
    return F.layer_norm(t, (D,), p[f"{name}.weight"], p[f"{name}.bias"], eps=1e-8)


def linear(t, name):
    return F.linear(t, p[f"{name}.weight"], p[f"{name}.bias"])


mask = (torch.arange(L)[None] < lengths[:, None])[..., None].double()
x = (p["xs"] + p["position_emb.weight"]) * mask
h = norm(x, "attn_norm")
scores = linear(h, "attn.q_proj") @ linear(x, "attn.k_proj").mT / math.sqrt(D)
visible = torch.ones(L, L).tril().bool()[None] & (mask.mT > 0)
weights = torch.softmax(scores.masked_fill(~visible, -math.inf), -1)
s = weights @ linear(x, "attn.v_proj") + h
g = norm(s, "ffn_norm")
f = (linear(F.relu(linear(g, "ffn.fc1")), "ffn.fc2") + g) * mask
outputs = norm(f, "last_norm")

golden = {"xs": p["xs"], "lengths": lengths, "outputs": outputs}
golden["state"] = outputs[torch.arange(B), lengths - 1]
for what, prefix in [("state", "grad"), ("outputs", "outputs_grad")]:
    loss = (golden[what] * fill(golden[what].shape, 2.0)).sum()
    grads = torch.autograd.grad(loss, list(p.values()), retain_graph=True)
    golden |= {f"{prefix}.{name}": grad for name, grad in zip(p, grads)}
golden |= {f"param.{name}": w for name, w in p.items() if name != "xs"}
golden = {name: t.detach().contiguous() for name, t in golden.items()}
save_file(golden, Path(__file__).with_suffix(".safetensors"))
