"""The training methods of section 4. A method is a module: a batch to a loss, and a batch to scores of all items."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import STEPS, Batch
from encoders import ENCODERS, NORM_EPS, linear, normal_embedding


class Head(nn.Linear):
    """The output layer: Xavier uniform, bias 0. With `bf16` its products run in bfloat16."""

    bf16 = False

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, state: Tensor) -> Tensor:
        if not self.bf16:
            return super().forward(state)
        return F.linear(state.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16()).float()

    def at(self, state: Tensor, items: Tensor) -> Tensor:
        """The score of one item for each state: [B]."""
        return (state * self.weight[items]).sum(-1) + self.bias[items]


class PromptBlock(nn.Module):
    """Eq. 9 to 13: the reward, the state and the step attend to each other; the state's token comes out."""

    def __init__(self, width: int, dropout: float = 0.3):
        super().__init__()
        self.reward = nn.Parameter(torch.randn(width) * 0.01)
        self.step = normal_embedding(STEPS, width)
        self.query, self.key, self.value = (linear(width, width) for _ in range(3))
        self.norm_in, self.norm_out = (nn.LayerNorm(width, NORM_EPS) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(self, state: Tensor, prompts: Tensor, steps: Tensor) -> Tensor:
        tokens = self.drop(torch.stack([prompts.unsqueeze(-1) * self.reward, state, self.step(steps)], 1))
        normed = self.norm_in(tokens[:, 1:2])
        scores = self.query(normed) @ self.key(tokens).transpose(1, 2) / state.shape[-1] ** 0.5
        mixed = self.drop(scores.softmax(-1)) @ self.value(tokens)
        return self.norm_out(normed + mixed).squeeze(1)


class Supervised(nn.Module):
    """`normal`: cross-entropy; and its base of a network and a head."""

    def __init__(self, encoder: str, item_num: int):
        super().__init__()
        self.encoder = ENCODERS[encoder](item_num)
        self.head = Head(self.encoder.width, item_num)

    def turn(self, step: int) -> tuple:
        """What differs between steps beside the batch: nothing. Passed on to `forward`."""
        return ()

    def forward(self, batch: Batch) -> Tensor:
        state = self.encoder(batch.items, batch.lengths)
        return F.cross_entropy(self.head(state), batch.targets)

    def scores(self, batch: Batch) -> Tensor:
        """[B, item_num]"""
        return self.head(self.encoder(batch.items, batch.lengths))


class Prompted(Supervised):
    """`prl`: the state passes the prompt block, the reward weights the cross-entropy."""

    MU = 2.0  # the prompt at inference, in mean returns

    def __init__(self, encoder: str, item_num: int):
        super().__init__(encoder, item_num)
        self.prompt = PromptBlock(self.encoder.width)

    def forward(self, batch: Batch) -> Tensor:
        losses = F.cross_entropy(self.logits(batch, batch.prompts), batch.targets, reduction="none")
        return (batch.rewards * losses).mean()

    def logits(self, batch: Batch, prompts: Tensor) -> Tensor:
        state = self.encoder(batch.items, batch.lengths)
        return self.head(self.prompt(state, prompts, batch.steps))

    def scores(self, batch: Batch) -> Tensor:
        return self.logits(batch, torch.full_like(batch.prompts, self.MU))


class DoubleQ(nn.Module):
    """`sqn` and, with a `warmup` of finitely many steps, `sac`: two networks, each with a Q head, learn in turns."""

    DISCOUNT = 0.5

    def __init__(self, encoder: str, item_num: int, warmup: float = float("inf")):
        super().__init__()
        self.networks = nn.ModuleList(Supervised(encoder, item_num) for _ in range(2))
        self.values = nn.ModuleList(Head(network.encoder.width, item_num) for network in self.networks)
        self.warmup = warmup

    def turn(self, step: int) -> tuple:
        """Which network is the main one, and whether its value weights the cross-entropy."""
        return random.randrange(2), step >= self.warmup

    def forward(self, batch: Batch, main: int, weighted: bool) -> Tensor:
        network, value = self.networks[main], self.values[main]
        state = network.encoder(batch.items, batch.lengths)
        chosen = value.at(state, batch.targets)
        error = self.target(batch, main) - chosen
        losses = F.cross_entropy(network.head(state), batch.targets, reduction="none")
        if weighted:
            losses = losses * chosen.detach()
        return (losses + 0.5 * error**2).mean()

    @torch.no_grad()
    def target(self, batch: Batch, main: int) -> Tensor:
        """Double Q-learning: the main network picks the next action, the other one says what it is worth."""
        other = 1 - main
        mine, theirs = (self.networks[i].encoder(batch.next_items, batch.next_lengths) for i in (main, other))
        best = self.values[main](mine).argmax(-1)
        return batch.rewards + self.DISCOUNT * torch.where(batch.ended, 0.0, self.values[other].at(theirs, best))

    def scores(self, batch: Batch) -> Tensor:
        return self.networks[0].scores(batch)


METHODS = ("normal", "prl", "sqn", "sac")


def build(method: str, encoder: str, item_num: int, warmup: int = 0) -> nn.Module:
    """The method of that name over a fresh encoder; `warmup` is for `sac` alone."""
    match method:
        case "normal":
            return Supervised(encoder, item_num)
        case "prl":
            return Prompted(encoder, item_num)
        case "sqn":
            return DoubleQ(encoder, item_num)
        case "sac":
            return DoubleQ(encoder, item_num, warmup)
    raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
