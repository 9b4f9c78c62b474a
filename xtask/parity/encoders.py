"""The four encoders of section 3, and CORE's of the recipe modern: windows of items [B, WINDOW] with lengths [B] to states [B, width]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import WINDOW

WIDTH = 64
NORM_EPS = 1e-8


class Encoder(nn.Module):
    """Base of all encoders: the item embedding, whose last row is the padding item's."""

    width = WIDTH

    def __init__(self, item_num: int):
        super().__init__()
        self.pad = item_num
        self.embedding = normal_embedding(item_num + 1, WIDTH)

    def mask(self, items: Tensor) -> Tensor:
        """[B, WINDOW, 1]: 1 at items, 0 at pads."""
        return (items != self.pad).unsqueeze(-1).to(self.embedding.weight.dtype)


def normal_embedding(rows: int, width: int) -> nn.Embedding:
    """A table from N(0, .01)."""
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.01)
    return table


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Glorot kernel, bias 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def last(states: Tensor, lengths: Tensor) -> Tensor:
    """The state at the last valid position: [B, WINDOW, d] to [B, d]."""
    return states[torch.arange(len(lengths), device=lengths.device), lengths - 1]


class Gru(Encoder):
    """Eq. 8: the reset gate acts before the recurrent product, the update gate multiplies the candidate."""

    def __init__(self, item_num: int):
        super().__init__(item_num)
        self.inputs = self.kernels(3)  # W_z, W_g, W_s
        self.gates = self.kernels(2)  # U_z, U_g
        self.candidate = self.kernels(1)  # U_s
        self.bias = nn.Parameter(torch.cat([torch.ones(2 * WIDTH), torch.zeros(WIDTH)]))

    @staticmethod
    def kernels(count: int) -> nn.Parameter:
        """Square Glorot matrices, concatenated by rows."""
        return nn.Parameter(torch.cat([nn.init.xavier_uniform_(torch.empty(WIDTH, WIDTH)) for _ in range(count)]))

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        x = F.linear(self.embedding(items), self.inputs, self.bias)
        to_gates, to_candidate = x.split([2 * WIDTH, WIDTH], -1)
        state = torch.zeros_like(to_candidate[:, 0])
        states = []
        for t in range(WINDOW):
            update, reset = torch.sigmoid(to_gates[:, t] + F.linear(state, self.gates)).chunk(2, -1)
            candidate = torch.tanh(to_candidate[:, t] + F.linear(reset * state, self.candidate))
            state = (1 - update) * state + update * candidate
            states.append(state)
        return last(torch.stack(states, 1), lengths)


class Caser(Encoder):
    """Horizontal filters of three heights with a max over time, and one vertical filter."""

    HEIGHTS, FILTERS = (2, 3, 4), 16
    width = len(HEIGHTS) * FILTERS + WIDTH

    def __init__(self, item_num: int):
        super().__init__(item_num)
        self.horizontal = nn.ModuleList(nn.Conv1d(WIDTH, self.FILTERS, height) for height in self.HEIGHTS)
        self.vertical = nn.Linear(WINDOW, 1)
        for layer in (*self.horizontal, self.vertical):
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            nn.init.constant_(layer.bias, 0.1)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        x = (self.embedding(items) * self.mask(items)).transpose(1, 2)
        maxima = [F.relu(conv(x)).amax(-1) for conv in self.horizontal]
        return torch.cat([*maxima, F.relu(self.vertical(x)).squeeze(-1)], -1)


class CausalConv(nn.Module):
    """Causal dilated convolution of kernel 3, then layer norm and ReLU."""

    def __init__(self, dilation: int):
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, dilation=dilation)
        self.norm = nn.LayerNorm(WIDTH, NORM_EPS)
        self.reach = 2 * dilation
        nn.init.trunc_normal_(self.conv.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(x.transpose(1, 2), (self.reach, 0)))
        return F.relu(self.norm(y.transpose(1, 2)))


class NextItNet(Encoder):
    """Residual blocks of two causal convolutions, the second at twice the dilation."""

    DILATIONS = (1, 2, 1, 2, 1, 2)

    def __init__(self, item_num: int):
        super().__init__(item_num)
        self.blocks = nn.ModuleList(nn.Sequential(CausalConv(d), CausalConv(2 * d)) for d in self.DILATIONS)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        mask = self.mask(items)
        x = self.embedding(items) * mask
        for block in self.blocks:
            x = (x + block(x)) * mask
        return last(x, lengths)


class SasRec(Encoder):
    """One block of single-head causal self-attention; residuals add the normed input."""

    DROPOUT = 0.1

    def __init__(self, item_num: int):
        super().__init__(item_num)
        self.positions = normal_embedding(WINDOW, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, NORM_EPS) for _ in range(3))
        self.query, self.key, self.value, self.inner, self.outer = (linear(WIDTH, WIDTH) for _ in range(5))
        self.drop = nn.Dropout(self.DROPOUT)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        mask = self.mask(items)
        x = self.drop(self.embedding(items) + self.positions.weight) * mask
        x = self.attend(x, self.norms[0](x), items != self.pad)
        normed = self.norms[1](x)
        x = normed + self.drop(self.outer(self.drop(F.relu(self.inner(normed)))))
        return last(self.norms[2](x * mask), lengths)

    def attend(self, x: Tensor, normed: Tensor, valid: Tensor) -> Tensor:
        """Queries from the normed input, keys and values from the input. A query at a padded position has weights 0."""
        scores = self.query(normed) @ self.key(x).transpose(1, 2) / WIDTH**0.5
        causal = torch.ones(WINDOW, WINDOW, dtype=torch.bool, device=x.device).tril()
        scores = scores.masked_fill(~(causal & valid.unsqueeze(1)), torch.finfo(scores.dtype).min)
        weights = self.drop(scores.softmax(-1) * valid.unsqueeze(-1))
        return normed + weights @ self.value(x)


class Core(Encoder):
    """CORE's: attention of the last item over the window, whose values are the item embeddings."""

    LAG_SLOPE = -0.3

    def __init__(self, item_num: int):
        super().__init__(item_num)
        self.query, self.key = linear(WIDTH, WIDTH), linear(WIDTH, WIDTH)
        self.lag_bias = nn.Parameter(self.LAG_SLOPE * torch.arange(WINDOW))

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        x = self.embedding(items)
        query = self.query(last(x, lengths)).unsqueeze(-1)
        lags = lengths.unsqueeze(1) - 1 - torch.arange(WINDOW, device=items.device)
        scores = (self.key(x) @ query).squeeze(-1) / WIDTH**0.5 + self.lag_bias[lags.clamp(min=0)]
        weights = scores.masked_fill(lags < 0, torch.finfo(scores.dtype).min).softmax(-1)
        return (weights.unsqueeze(-1) * x).sum(1)


ENCODERS = {"gru": Gru, "caser": Caser, "nextitnet": NextItNet, "sasrec": SasRec, "core": Core}
