"""Hidden vectors and gradients of the prompt block and its ablations in PyTorch.

Run: python3 prompt_block.py (torch and safetensors; writes the .safetensors file beside it).
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


B, L, D, STEPS = 3, 5, 4, 4
returns, step = torch.tensor([1.2, 0.5, 2.0]), torch.tensor([0, 2, 2])
lengths = torch.tensor([5, 1, 3])
SHAPES = {  # phase, shape
    "reward_emb.weight": (0.1, (1, D)),
    "step_emb.weight": (0.2, (STEPS, D)),
    "attn.q_proj": (0.6, (D, D)),
    "attn.k_proj": (0.8, (D, D)),
    "attn.v_proj": (1.0, (D, D)),
    "mlp.reward": (1.4, (D, D)),
    "mlp.state": (1.6, (D, D)),
    "mlp.step": (1.8, (D, D)),
    "attn_norm": (0.4, (D,)),
    "last_norm": (1.2, (D,)),
}


def parameters():
    p = {"state": fill((B, D), 0.3), "outputs": fill((B, L, D), 0.9)}
    for name, (phase, shape) in SHAPES.items():
        if name.endswith("weight"):
            p[name] = fill(shape, phase)
        elif name.endswith("norm"):
            p[f"{name}.weight"] = fill(shape, phase, 0.1, 1.0)
            p[f"{name}.bias"] = fill(shape, phase + 0.1, 0.1)
        else:
            p[f"{name}.weight"] = fill(shape, phase, 0.5)
            p[f"{name}.bias"] = fill((D,), phase + 0.1, 0.5)
    return p


def block(p, variant):
    def norm(t, name):
        return F.layer_norm(t, (D,), p[f"{name}.weight"], p[f"{name}.bias"], eps=1e-8)

    def linear(t, name):
        return F.linear(t, p[f"{name}.weight"], p[f"{name}.bias"])

    tokens = [returns[:, None] * p["reward_emb.weight"], p["state"], p["step_emb.weight"][step]]
    stack = torch.stack(tokens, 1)
    if variant == "mean":
        mixed = stack.mean(1)
    elif variant == "mlp":
        names = ["mlp.reward", "mlp.state", "mlp.step"]
        mixed = torch.stack([linear(t, name) for t, name in zip(tokens, names)], 1).mean(1)
    else:
        keys = stack
        visible = torch.ones(B, 1, 3).bool()
        state = p["state"]
        if variant == "outputs":
            keys = p["outputs"]
            visible = (torch.arange(L)[None] < lengths[:, None])[:, None]
            state = keys[torch.arange(B), lengths - 1]
        normed = norm(state, "attn_norm")[:, None]
        scores = linear(normed, "attn.q_proj") @ linear(keys, "attn.k_proj").mT / math.sqrt(D)
        weights = torch.softmax(scores.masked_fill(~visible, -math.inf), -1)
        residual = state[:, None] if variant == "raw" else normed
        mixed = (weights @ linear(keys, "attn.v_proj") + residual)[:, 0]
    return norm(mixed, "last_norm")


golden = {f"param.{name}": w for name, w in parameters().items()}
golden |= {"returns": returns, "steps": step, "lengths": lengths}
for variant in ["normalized", "raw", "mean", "mlp", "outputs"]:
    p = parameters()
    hidden = block(p, variant)
    (hidden * fill(hidden.shape, 2.0)).sum().backward()
    golden[f"{variant}.hidden"] = hidden
    golden |= {f"{variant}.grad.{k}": w.grad for k, w in p.items() if w.grad is not None}
golden = {name: t.detach().contiguous() for name, t in golden.items()}
save_file(golden, Path(__file__).with_suffix(".safetensors"))
