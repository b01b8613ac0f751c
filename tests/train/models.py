"""Tiny models for the tests of the loop."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import config, nn
from tinygrad_rnn.train import TrainStep


def updating(model, optimizer, compiled):
    """What updates a model by the mean squared error of a batch: a training step, or the same on the tape."""

    def on_the_tape(x, y):
        loss = nn.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return TrainStep(model, optimizer, nn.mse_loss) if compiled else on_the_tape


class Line:
    """y = x w + b, with the interface of a module and, if asked for, noise in training."""

    def __init__(self, features=2, noise=0.0, seed=0):
        rng = np.random.default_rng(seed)
        self.w = tr.tensor(rng.normal(size=(features, 1)), requires_grad=True)
        self.b = tr.tensor(np.zeros(1), requires_grad=True)
        self.noise = noise
        self.training = True
        self.modes = []

    def __call__(self, x):
        y = x @ self.w + self.b
        if self.noise and self.training:
            y = y + self.noise * config.generator().normal(size=y.shape)
        return y

    def parameters(self):
        return [self.w, self.b]

    def train(self, mode=True):
        self.training = mode
        self.modes.append(mode)

    def state_dict(self):
        return {"w": self.w.data.copy(), "b": self.b.data.copy()}

    def load_state_dict(self, state):
        with tr.no_grad():
            self.w.copy_(state["w"])
            self.b.copy_(state["b"])


class Recurrent:
    """h' = tanh(x W_x + h W_h), y = h' W_y, with the state carried by the caller."""

    def __init__(self, features=2, hidden=3, seed=0, nested=False):
        rng = np.random.default_rng(seed)
        shapes = (features, hidden), (hidden, hidden), (hidden, 1)
        self.w_x, self.w_h, self.w_y = (tr.tensor(0.5 * rng.normal(size=s), requires_grad=True) for s in shapes)
        self.hidden = hidden
        self.nested = nested

    def parameters(self):
        return [self.w_x, self.w_h, self.w_y]

    def __call__(self, x, state=None):
        h = tr.as_tensor(np.zeros((x.shape[1], self.hidden))) if state is None else state
        if self.nested and state is not None:
            h = state["h"][0]
        out = []
        for t in range(x.shape[0]):
            h = tr.tanh(x[t] @ self.w_x + h @ self.w_h)
            out.append(h @ self.w_y)
        return tr.stack(out), {"h": (h,)} if self.nested else h


def mse(y, t):
    return ((y - t) ** 2).mean()


def data(n=23, features=2, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    return x, x @ rng.normal(size=(features, 1)) + 0.3 + 0.1 * rng.normal(size=(n, 1))


def batches(x, y, size=5):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def streams(steps=22, batch=3, features=2, seed=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, batch, features))
    return x, np.cumsum(x, 0).sum(-1, keepdims=True) * 0.3
