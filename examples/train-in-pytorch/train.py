"""Trains a GRU with the paper's output layer in PyTorch on a prepared dataset, for `prl import`.

    python train.py --data DATA --out weights.safetensors [--ranks ranks.csv]
    prl import --weights weights.safetensors --config config.toml --data DATA --out run
    prl evaluate --run run

Needs torch, numpy and safetensors. The settings in config.toml beside this script are those of this
network. `--ranks` also writes session, kind and rank of each case of the test split, as `prl evaluate
--cases ranks.csv` does.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn

WINDOW, DIM = 10, 64
TRAIN, TEST = 0, 2
KINDS = ["click", "purchase"]


class Gru(nn.Module):
    """The names and shapes of the parameters are those of the file."""

    def __init__(self, items, dim):
        super().__init__()
        self.item_emb = nn.Embedding(items + 1, dim)  # the last row is the pad's
        self.encoder = nn.Module()
        self.encoder.weight_ih = nn.Parameter(torch.empty(3 * dim, dim))  # W_z, W_r, W_c
        self.encoder.weight_hh = nn.Parameter(torch.empty(3 * dim, dim))  # U_z, U_r, U_c
        self.encoder.bias = nn.Parameter(torch.cat([torch.ones(2 * dim), torch.zeros(dim)]))
        self.head = nn.Linear(dim, items)
        nn.init.normal_(self.item_emb.weight, std=0.01)
        nn.init.xavier_uniform_(self.encoder.weight_ih)
        nn.init.xavier_uniform_(self.encoder.weight_hh)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, windows, lengths):
        """Scores [B, items] of windows [B, L] of item indices, padded on the right."""
        dim = self.encoder.weight_hh.shape[1]
        u_zr, u_c = self.encoder.weight_hh[: 2 * dim], self.encoder.weight_hh[2 * dim :]
        xs = self.item_emb(windows)
        s = xs.new_zeros(len(windows), dim)
        for t in range(windows.shape[1]):
            wx = xs[:, t] @ self.encoder.weight_ih.T + self.encoder.bias
            z, r = torch.sigmoid(wx[:, : 2 * dim] + s @ u_zr.T).chunk(2, 1)
            # The reset gate is applied before the product, unlike in torch.nn.GRU.
            c = torch.tanh(wx[:, 2 * dim :] + (r * s) @ u_c.T)
            s = torch.where((t < lengths)[:, None], (1 - z) * s + z * c, s)
        return self.head(s)


def examples(data, split, pad):
    """Windows [N, L], their lengths, targets, kinds and sessions: one example an event of the split."""
    windows, lengths, targets, kinds, sessions = [], [], [], [], []
    offsets = data["offsets"].astype(np.int64)
    session = -1
    for first, end in zip(offsets[:-1], offsets[1:]):
        # The sessions of the split are counted from 0.
        session += bool((data["splits"][first:end] == split).any())
        for event in range(first, end):
            if data["splits"][event] != split:
                continue
            history = data["items"][max(first, event - WINDOW) : event].astype(np.int64)
            row = np.full(WINDOW, pad, np.int64)
            row[: len(history)] = history
            windows.append(row)
            lengths.append(max(1, len(history)))  # an empty session is one pad
            targets.append(int(data["items"][event]))
            kinds.append(KINDS[data["kinds"][event]])
            sessions.append(session)
    arrays = [np.array(windows).reshape(-1, WINDOW), np.array(lengths), np.array(targets)]
    return [torch.from_numpy(a.astype(np.int64)) for a in arrays], kinds, sessions


def train(network, windows, lengths, targets, args):
    adam = torch.optim.Adam(network.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        total = 0.0
        for batch in torch.randperm(len(targets)).split(args.batch_size):
            loss = nn.functional.cross_entropy(
                network(windows[batch], lengths[batch]), targets[batch]
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1}: loss {total / max(1, len(targets)):.4f}")


@torch.no_grad()
def ranks(network, windows, lengths, targets):
    """Rank of each target among all items; equal scores count against it."""
    all_ranks = []
    for batch in torch.arange(len(targets)).split(256):
        scores = network(windows[batch], lengths[batch])
        target = scores.gather(1, targets[batch, None])
        all_ranks += (scores >= target).sum(1).tolist()
    return all_ranks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of `prl prepare`")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--ranks", type=Path, help="CSV of the test split's ranks to write")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    data = load_file(args.data / "events.safetensors")
    items = len(load_file(args.data / "items.safetensors")["offsets"]) - 1
    network = Gru(items, DIM)
    batch, _, _ = examples(data, TRAIN, items)
    train(network, *batch, args)
    save_file({name: p.detach().contiguous() for name, p in network.named_parameters()}, args.out)
    if args.ranks:
        batch, kinds, sessions = examples(data, TEST, items)
        lines = ["session,kind,rank"]
        for session, kind, rank in zip(sessions, kinds, ranks(network, *batch)):
            lines.append(f"{session},{kind},{rank}")
        args.ranks.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
