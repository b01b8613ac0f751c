"""Embeddings: a trained table from ids to vectors."""

from __future__ import annotations

from .. import ops
from ..core import Tensor
from ..core.aliases import ArrayLike, DTypeLike, Value
from ..ops.index import as_id
from . import init
from .module import Module
from .parameter import check_sizes, empty


class Embedding(Module):
    """A vector for each of `num_embeddings` ids: integers (...) to (..., embedding_dim).

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        The id of padding; may be negative. Its row starts at zero and gets no gradient.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter, (num_embeddings, embedding_dim)
        Standard normal.

    Raises
    ------
    DTypeError
        If ids are not integers.
    IndexError
        If an id is not in the table; it is named.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> nn.Embedding(10, 4, padding_idx=0)([[1, 2, 0]]).shape
    (1, 3, 4)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, dtype: DTypeLike | None = None
    ) -> None:
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else as_id(padding_idx, num_embeddings)
        self.weight = empty(num_embeddings, embedding_dim, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal(self.weight)
        if self.padding_idx is not None:
            init.constant(Tensor(self.weight.data[self.padding_idx]), 0.0)

    def forward(self, ids: ArrayLike) -> Value:
        return ops.embedding(self.weight, ids, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
