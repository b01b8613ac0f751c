"""An operation, a cell and a training loop of a user's own, annotated as type checkers want them in strict mode."""

from __future__ import annotations

import math

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim


def _cube_vjp(g: tr.Tensor, y: tr.Tensor, x: tr.Tensor) -> tr.Tensor:
    return g * 3 * x * x


@tr.primitive(vjps=[_cube_vjp], saves=(0,), lowering=tr.Lowering("elementwise", "{0} * {0} * {0}", cost=2))
def cube(x: np.ndarray) -> np.ndarray:
    y: np.ndarray = x * x * x
    return y


def activation(x: tr.Tensor) -> tr.Tensor:
    return tr.where(x > 0, tr.tanh(cube(x)), 0.5 * tr.softplus(x) - 1)


def attention(query: tr.Tensor, keys: tr.Tensor) -> tr.Tensor:
    scores = tr.softmax(tr.einsum("bi,tbi->tb", query, keys) / math.sqrt(keys.shape[-1]), axis=0)
    return tr.sum(tr.expand_dims(scores, -1) * keys, axis=0)


class Gate(nn.Cell):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        self.gate = nn.Linear(input_size + hidden_size, 2 * hidden_size)

    def step(self, x: tr.Tensor, h: tr.Tensor) -> tuple[tr.Tensor, tr.Tensor]:
        update, new = tr.split(self.gate(tr.concat([x, h], axis=-1)), 2, axis=-1)
        z = tr.sigmoid(update)
        h = (1 - z) * h + z * activation(new)
        return h, h


def train(x: tr.Tensor, target: tr.Tensor, steps: int) -> list[float]:
    layer = nn.Recurrent(Gate(3, 4))
    optimizer = optim.Adam(layer.parameters(), lr=0.01)
    losses: list[float] = []
    for _ in range(steps):
        optimizer.zero_grad()
        ys, h = layer(x)
        loss: tr.Tensor = ((attention(h, ys) - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def descend(w: tr.Tensor, x: tr.Tensor) -> None:
    loss = tr.norm(x @ w) + tr.logsumexp(w, axis=None)
    (dw,) = tr.grad(loss, w)
    assert dw is not None
    with tr.no_grad():
        w -= 0.1 * dw
    parts: tuple[tr.Tensor, ...] = tr.unstack(w)
    stacked: tr.Tensor = tr.stack([part.reshape(-1) for part in parts], axis=0)
    total: float = float(stacked.sum(axis=(0, 1)))
    values: np.ndarray = tr.clip(w, -1.0, None).astype("float64").numpy()
    assert total == values.sum()


class Tagger(nn.Module):
    def __init__(self, words: int, tags: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.rnn = nn.LSTM(hidden, hidden, bidirectional=True)
        self.head = nn.Sequential(nn.LayerNorm(2 * hidden), nn.Linear(2 * hidden, tags))

    def forward(self, ids: np.ndarray, lengths: np.ndarray) -> tr.Tensor:
        ys, _ = self.rnn(self.embedding(ids), lengths=lengths)
        scores: tr.Tensor = self.head(ys)
        return scores


@tr.no_grad
def evaluate(model: Tagger, ids: np.ndarray, lengths: np.ndarray) -> list[str]:
    model.eval()
    loss = nn.functional.cross_entropy(model(ids, lengths).reshape(-1, 3), np.zeros(ids.size, int))
    assert isinstance(loss.item(), float) and len(str(model.rnn.explain(ids.shape))) > 0
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


if __name__ == "__main__":
    sequence = tr.randn((7, 2, 3))
    assert len(train(sequence, tr.zeros((2, 4)), 2)) == 2
    descend(tr.tensor(np.ones((3, 2)), requires_grad=True), tr.as_tensor([[1.0, 2.0, 3.0]], dtype=np.float64))
    evaluate(Tagger(5, 3, 4), np.array([[1, 2], [3, 4], [0, 1]]), np.array([3, 2]))
