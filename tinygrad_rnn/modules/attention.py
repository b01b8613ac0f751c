"""Attention over a memory, such as the outputs of an encoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..config import grad_mode
from ..core import Tensor, as_array, as_tensor
from ..core.aliases import DTypeLike
from ..core.node import Traceable
from ..errors import ShapeError
from .ctc import check_lengths
from .linear import Linear
from .module import Module
from .parameter import check_sizes


class LuongAttention(Module):
    """Multiplicative attention over a memory (Luong, Pham and Manning 2015).

    ``score(h, s) = h' W s`` (equation 8, "general"); the softmax of the scores weighs the memory, and the output is
    ``tanh(W_c [context; h])`` (equation 5).

    Parameters
    ----------
    query_size, memory_size : int
        Features of what asks, such as a decoder's outputs, and of what is looked at, such as an encoder's.
    output_size : int, optional
        Default: query_size.
    dtype : float32 or float64, optional

    Attributes
    ----------
    score : Linear
        W, from the memory to the features of a query; without a bias.
    combine : Linear
        W_c, without a bias.

    Examples
    --------
    A query for each of four steps, over memories of which the second is shorter:

    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> attention = nn.LuongAttention(8, 6)
    >>> output, weights = attention(np.ones((2, 4, 8)), np.ones((2, 5, 6)), lengths=[5, 2])
    >>> output.shape, weights.numpy()[1, 0].tolist()
    ((2, 4, 8), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    def __init__(
        self, query_size: int, memory_size: int, output_size: int | None = None, dtype: DTypeLike | None = None
    ) -> None:
        sizes = {"query_size": query_size, "memory_size": memory_size}
        check_sizes("LuongAttention", **sizes, output_size=query_size if output_size is None else output_size)
        self.query_size, self.memory_size = query_size, memory_size
        self.score = Linear(memory_size, query_size, bias=False, dtype=dtype)
        self.combine = Linear(memory_size + query_size, output_size or query_size, bias=False, dtype=dtype)

    def forward(self, query: Any, memory: Any, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """Attend to the memory; returns outputs and weights.

        Parameters
        ----------
        query : Tensor or array, (B, S, query_size)
        memory : Tensor or array, (B, T, memory_size)
            Finite also where it does not count.
        lengths : ints (B,), optional
            Steps of each row's memory that count, from the first on; at least one.

        Returns
        -------
        output : Tensor, (B, S, output_size)
        weights : Tensor, (B, S, T)
            How much each query looked at each step; they add up to one, and are zero where steps do not count.

        Raises
        ------
        ShapeError
            If a shape does not fit.
        ValueError
            If a length is not 1 to T.
        """
        dtype = self.score.weight.dtype
        query, memory = (
            as_tensor(a if isinstance(a, Tensor) else as_array(a, f"LuongAttention: {name}", dtype=dtype), dtype)
            for name, a in (("query", query), ("memory", memory))
        )
        if query.ndim != 3 or query.shape[2] != self.query_size:
            raise ShapeError(f"LuongAttention: query: got shape {query.shape}, wanted (B, S, {self.query_size})")
        batch = query.shape[0]
        if memory.ndim != 3 or memory.shape[::2] != (batch, self.memory_size) or not memory.shape[1]:
            wanted = f"({batch}, T, {self.memory_size}) with T >= 1"
            raise ShapeError(f"LuongAttention: memory: got shape {memory.shape}, wanted {wanted}")
        scores = ops.matmul(query, ops.swapaxes(self.score(memory), 1, 2))
        if lengths is not None:
            counts = ops.less(np.arange(memory.shape[1]), _steps(lengths, batch, memory.shape[1]))  # (B, 1, T)
            scores = ops.where(counts, scores, -np.inf)
        weights = ops.softmax(scores)
        context = ops.matmul(weights, memory)
        return ops.tanh(self.combine(ops.concat([context, query], axis=-1))), weights

    def prepare(self, memory: Any, lengths: Any = None) -> tuple[Tensor, Tensor, Tensor]:
        """What :meth:`look` reads of a memory: keys, values, and what bars steps that do not count.

        Each has a row for each row of the batch. Parameters are those of :meth:`forward`.
        """
        memory = as_tensor(memory, self.score.weight.dtype)
        batch, most = memory.shape[:2]
        counts = np.arange(most) < (most if lengths is None else _steps(lengths, batch, most)[:, 0])
        barred = np.where(counts, 0.0, -np.inf).astype(memory.dtype)
        return self.score(memory), memory, as_tensor(np.broadcast_to(barred, (batch, most)).copy())

    def look(self, query: Any, keys: Any, values: Any, barred: Any) -> Tensor:
        """The outputs (B, output_size) of one step's queries (B, query_size), as in the step of a cell.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_rnn import nn
        >>> attention, memory, query = nn.LuongAttention(8, 6), np.ones((2, 5, 6)), np.ones((2, 8))
        >>> output, _ = attention(query[:, None], memory, lengths=[5, 2])
        >>> np.allclose(attention.look(query, *attention.prepare(memory, [5, 2])), output[:, 0], atol=1e-6)
        True
        """
        scores = ops.matmul(keys, ops.expand_dims(query, 2))[:, :, 0] + barred
        context = ops.matmul(ops.expand_dims(ops.softmax(scores), 1), values)[:, 0]
        return ops.tanh(self.combine(ops.concat([context, query], axis=-1)))

    def extra_repr(self) -> str:
        return f"{self.query_size}, {self.memory_size}"


def _steps(lengths: Any, batch: int, most: int) -> Any:
    """Numbers of steps that count, (B, 1, 1); tested now, or at each run of a function that is traced."""

    def check(array: Any) -> np.ndarray:
        steps = check_lengths("LuongAttention: lengths", array, batch, False, most)
        if (steps == 0).any():
            raise ValueError(f"LuongAttention: lengths: got 0 for row {steps.argmin()}, wanted at least 1")
        return steps

    tracer = grad_mode.tracer
    if tracer is None or not tracer.whole or not isinstance(lengths, Traceable):
        return check(lengths).reshape(batch, 1, 1)
    found = tracer.lift(lengths)
    with tracer.suspended():
        check(np.ones(found.shape, found.dtype))
    tracer.check([found], check)
    return ops.reshape(found, (batch, 1, 1))
