"""Transformer of bench.tasks.transformer in torch, and its problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import gelu

from bench.data.protocol import Table
from bench.tasks.classifier import Classifier
from bench.tasks.model import Batch
from bench.tasks.protocol import Alter


class Embedding(torch.nn.Module):
    """Sum of a vector for each character and one for its place."""

    def __init__(self, alphabet: int, context: int, width: int) -> None:
        super().__init__()
        self.character = torch.nn.Embedding(alphabet, width)
        self.place = torch.nn.Embedding(context, width)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the vectors, (m, T, width), of codes (m, T)."""
        x: torch.Tensor = self.character(codes) + self.place.weight[: codes.shape[-1]]
        return x


class Attention(torch.nn.Module):
    """Causal multi-head attention, added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm = torch.nn.LayerNorm(width)
        self.into = torch.nn.Linear(width, 3 * width)
        self.softmax = torch.nn.Softmax(-1)  # a layer, so that its outputs are counted
        self.out = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations, (m, T, width), of x, (m, T, width)."""
        m, length, width = x.shape
        ahead = torch.full((length, length), -math.inf, dtype=x.dtype).triu(1)
        heads = self.into(self.norm(x)).view(m, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = heads[0], heads[1], heads[2]  # (m, heads, T, width / heads)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + ahead
        values = self.softmax(scores) @ v
        result: torch.Tensor = x + self.out(values.transpose(1, 2).reshape(m, length, width))
        return result


class Perceptron(torch.nn.Module):
    """Perceptron of one hidden layer, added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.wide = torch.nn.Linear(width, 4 * width)
        self.narrow = torch.nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations, (m, T, width), of x, (m, T, width)."""
        result: torch.Tensor = x + self.narrow(gelu(self.wide(self.norm(x))))
        return result


def decoder(alphabet: int, context: int, width: int, depth: int, heads: int) -> torch.nn.Sequential:
    """Return the model from codes (m, T) of characters, T <= context, to logits (m, T, alphabet).

    Its last unit is the norm with the logits; a block is two units.
    """
    embedding = Embedding(alphabet, context, width)
    blocks = [part for _ in range(depth) for part in (Attention(width, heads), Perceptron(width))]
    head = torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Linear(width, alphabet))
    for each in (embedding.character, embedding.place):
        torch.nn.init.normal_(each.weight, std=0.02)
    return torch.nn.Sequential(embedding, *blocks, head)


class CharacterProblem(Classifier):
    """Classifier of every character of a window by the preceding ones."""

    def read(self, table: Table, indices: NDArray[np.int64]) -> Batch:
        """Return codes (m, T) and the codes of the next characters, (m, T)."""
        codes = torch.from_numpy(table.rows(indices).astype(np.int64))
        return codes[:, :-1].contiguous(), codes[:, 1:].contiguous()

    def features(self) -> NDArray[Any]:
        """Refuse always, by ValueError: characters have no features."""
        raise ValueError(
            "characters are not features that can be compared: partition by labels or groups, "
            "which are the speakers"
        )

    def hold(
        self, ids: range, shards: Sequence[NDArray[np.int64]], alter: Alter | None = None
    ) -> list[NDArray[np.int64]]:
        """Keep the windows of these workers. Errors: ValueError for `alter`."""
        if alter:
            raise ValueError("characters cannot be altered: take a task whose inputs are numbers")
        return super().hold(ids, shards)

    def inputs_at(self, places: NDArray[np.int64]) -> NDArray[np.floating] | None:
        """Return None: codes are not numbers."""
        return None

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the held-out loss in nats a character and in bits, (n,) float64 each."""
        loss, _ = super().evaluate(rows)
        return loss, loss / math.log(2)

    def ensemble(self, rows: NDArray[np.floating]) -> tuple[float, float]:
        """Return the held-out loss of the mean softmax in nats a character and in bits."""
        loss, _ = super().ensemble(rows)
        return loss, loss / math.log(2)
