"""The training methods of section 4, and the recipe modern. A method is a module that maps a batch to a loss, and a batch to
scores of all items."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import STEPS, WINDOW, Batch
from encoders import ENCODERS, NORM_EPS, WIDTH, last, linear, normal_embedding


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
    """Prompt block, Eq. 9 to 13: self-attention over the tokens return, state and time step; returns the
    state's token."""

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
    """`normal`: cross-entropy. Also the base of the other methods: an encoder and a head."""

    def __init__(self, encoder: str, item_num: int):
        super().__init__()
        self.encoder = ENCODERS[encoder](item_num)
        self.head = Head(self.encoder.width, item_num)

    def turn(self, step: int) -> tuple:
        """Further arguments of `forward` at a training step: none."""
        return ()

    def forward(self, batch: Batch) -> Tensor:
        state = self.encoder(batch.items, batch.lengths)
        return F.cross_entropy(self.head(state), batch.targets)

    def scores(self, batch: Batch) -> Tensor:
        """[B, item_num]"""
        return self.head(self.encoder(batch.items, batch.lengths))


class Prompted(Supervised):
    """`prl`: prompt block on the state, cross-entropy weighted by the reward."""

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
    """`sqn` and, with a finite `warmup` in steps, `sac` (self-supervised actor-critic): two networks, each
    with a Q head, of which a random one is trained at each step."""

    DISCOUNT = 0.5

    def __init__(self, encoder: str, item_num: int, warmup: float = float("inf")):
        super().__init__()
        self.networks = nn.ModuleList(Supervised(encoder, item_num) for _ in range(2))
        self.values = nn.ModuleList(Head(network.encoder.width, item_num) for network in self.networks)
        self.warmup = warmup

    def turn(self, step: int) -> tuple:
        """Index of the trained network, and whether its Q-value weights the cross-entropy."""
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
        """Double Q-learning target: the main network selects the next action, the other one evaluates it."""
        other = 1 - main
        mine, theirs = (self.networks[i].encoder(batch.next_items, batch.next_lengths) for i in (main, other))
        best = self.values[main](mine).argmax(-1)
        return batch.rewards + self.DISCOUNT * torch.where(batch.ended, 0.0, self.values[other].at(theirs, best))

    def scores(self, batch: Batch) -> Tensor:
        return self.networks[0].scores(batch)


class DroppedEmbedding(nn.Embedding):
    """A table from N(0, .01), with dropout on the looked-up vectors."""

    def __init__(self, rows: int, rate: float):
        super().__init__(rows, WIDTH)
        self.rate = rate
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, items: Tensor) -> Tensor:
        return F.dropout(super().forward(items), self.rate, self.training)


class Modern(nn.Module):
    """`modern`: cross-entropy over cosines with the item embedding, divided by a temperature, with a bias by
    item and a learned bias of the session's own items by lag. The last item is added to the encoder's state,
    which is scaled if a layer norm ends it, mapped linearly otherwise, and left alone for `core`. With
    `Head.bf16` the product of the scores runs in bfloat16."""

    TEMPERATURE, ITEM_DROPOUT = 0.1, 0.2

    def __init__(self, encoder: str, item_num: int):
        super().__init__()
        self.encoder = ENCODERS[encoder](item_num)
        self.encoder.embedding = DroppedEmbedding(item_num + 1, self.ITEM_DROPOUT)
        self.kind = {"core": None, "sasrec": "scaled"}.get(encoder, "projected")
        if self.kind == "projected":
            self.residual = linear(self.encoder.width, WIDTH)
        if self.kind == "scaled":
            self.residual = nn.Parameter(torch.full([WIDTH], 0.01))
        self.bias = nn.Parameter(torch.zeros(item_num))
        self.own_bias = nn.Parameter(torch.zeros(WINDOW))

    def turn(self, step: int) -> tuple:
        """Further arguments of `forward` at a training step: none."""
        return ()

    def forward(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.scores(batch), batch.targets)

    def scores(self, batch: Batch) -> Tensor:
        """[B, item_num]"""
        state = self.encoder(batch.items, batch.lengths)
        if self.kind is not None:
            state = self.residual(state) if self.kind == "projected" else self.residual * state
            state = state + last(self.encoder.embedding(batch.items), batch.lengths)
        state = F.normalize(state, dim=-1) / self.TEMPERATURE
        vectors = F.normalize(self.encoder.embedding.weight[:-1], dim=-1)
        if Head.bf16:
            scores = F.linear(state.bfloat16(), vectors.bfloat16()).float() + self.bias
        else:
            scores = F.linear(state, vectors, self.bias)
        return self.add_own(scores, batch)

    def add_own(self, scores: Tensor, batch: Batch) -> Tensor:
        """Adds the bias by lag to the last occurrence of each item of the window."""
        lags = batch.lengths.unsqueeze(1) - 1 - torch.arange(WINDOW, device=scores.device)
        same = batch.items.unsqueeze(1) == batch.items.unsqueeze(2)
        later = torch.ones(WINDOW, WINDOW, dtype=torch.bool, device=scores.device).triu(1)
        counts = (lags >= 0) & ~(same & later).any(-1)
        offsets = torch.where(counts, self.own_bias[lags.clamp(min=0)], 0.0)
        return scores.scatter_add(1, batch.items.clamp(max=scores.shape[1] - 1), offsets)


METHODS = ("normal", "prl", "sqn", "sac", "modern")


def build(method: str, encoder: str, item_num: int, warmup: int = 0) -> nn.Module:
    """Method of a name over a new encoder; `warmup` applies to `sac` only."""
    match method:
        case "normal":
            return Supervised(encoder, item_num)
        case "prl":
            return Prompted(encoder, item_num)
        case "sqn":
            return DoubleQ(encoder, item_num)
        case "sac":
            return DoubleQ(encoder, item_num, warmup)
        case "modern":
            return Modern(encoder, item_num)
    raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
