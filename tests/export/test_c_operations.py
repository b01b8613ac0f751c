"""The operations that stand around loops in models, each in C as on the tape."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import examples as on
from .c_library import needs_compiler
from .test_c_models import require_equal

pytestmark = needs_compiler
WEIGHT = np.random.default_rng(9).standard_normal((4, 4)).astype(np.float32)
OPERATIONS = {
    "swap": lambda y: y.swapaxes(1, 2),
    "reshape": lambda y: y.reshape((*y.shape[:2], 2, 2)).swapaxes(2, 3) * 2,
    "einsum with a matrix": lambda y: tr.einsum("tbi,ij->tbj", y, tr.tensor(WEIGHT)),
    "einsum": lambda y: tr.einsum("tbi,tbj->tbij", y, y),
    "matmul": lambda y: y.swapaxes(0, 1) @ y.swapaxes(0, 1).swapaxes(1, 2),
    "matmul with a matrix": lambda y: y[0] @ tr.tensor(WEIGHT),
    "var": lambda y: y.var(axis=-1),
    "std": lambda y: y.std(axis=-1, keepdims=True),
    "norm": lambda y: tr.norm(y, axis=-1),
    "min": lambda y: y.min(axis=-1),
    "max over time": lambda y: y.max(axis=0),
    "prod": lambda y: y.prod(axis=-1),
    "mean": lambda y: y.mean(axis=-1),
    "mean over time": lambda y: y.mean(axis=0),
    "sum over two": lambda y: y.sum(axis=(0, 2)),
    "any": lambda y: (y > 0).any(axis=-1),
    "argmax": lambda y: y.argmax(axis=-1),
    "argmin over time": lambda y: y.argmin(axis=0, keepdims=True),
    "cumsum": lambda y: tr.cumsum(y, axis=-1),
    "cumsum over time": lambda y: tr.cumsum(y, axis=0),
    "power": lambda y: tr.abs(y) ** 1.5 + y**3,
    "where": lambda y: tr.where(y > 0, y, -1.0),
    "clip": lambda y: tr.clip(y, -0.1, 0.2),
    "sin": lambda y: tr.sin(y) + tr.cos(3 * y),
    "exp": lambda y: tr.exp(y) + tr.expm1(y) + tr.log1p(tr.abs(y)) + tr.sqrt(tr.abs(y)) + tr.erf(y),
    "logic": lambda y: (y > 0) & ~(y < 0.1) | tr.isfinite(y),
    "rounding": lambda y: tr.floor(5 * y) + tr.sign(y) + tr.round(7 * y),
    "remainder": lambda y: tr.remainder(y, 0.3) + y // 0.3,
    "integers": lambda y: (10 * y).astype("int64"),
    "maximum": lambda y: tr.maximum(y, tr.minimum(y[:1], 0.1)),
    "pad": lambda y: tr.pad(y, ((1, 0), (0, 0), (1, 2))),
    "stack": lambda y: tr.stack([y, -y], axis=0),
    "unstack": lambda y: tr.unstack(y, axis=-1)[1],
    "concat": lambda y: tr.concat([tr.zeros((1, *y.shape[1:])), y[:-1]], axis=0),
    "slices": lambda y: tr.concat([y[:, :, ::2], y[..., ::-1], y[:, :, 1:-1]], axis=-1),
    "last": lambda y: y[-1] + y[0],
    "new axis": lambda y: y[:, None] + tr.expand_dims(y, 2),
    "indices": lambda y: y[..., np.array([2, 0, -1])],
    "repeat": lambda y: tr.repeat(y, 2, axis=2),
    "roll": lambda y: tr.roll(y, 1, axis=2),
    "outer": lambda y: y[..., None] * y[:, :, None],
    "softmax": lambda y: tr.softmax(y, axis=0) + tr.log_softmax(y, axis=-1),
    "logsumexp": lambda y: tr.logsumexp(y, axis=(0, 2)),
    "layer norm": lambda y: nn.functional.layer_norm(y, (4,)),
}


class Everything(nn.Module):
    """A model whose results are those of all operations."""

    def __init__(self):
        self.layer = nn.GRU(3, 4)

    def forward(self, x):
        y, _ = self.layer(x)
        return tuple(operation(y) for operation in OPERATIONS.values())


def test_operations(tmp_path):
    draw = lambda rng, t, b: (rng.standard_normal((t, b, 3)).astype(np.float32),)
    require_equal([on.Example("everything", Everything, draw)], tmp_path, tolerance=2e-6)
