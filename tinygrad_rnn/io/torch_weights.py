"""Weights from PyTorch and for PyTorch: `from_torch` and `to_torch`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from ..checks import shown
from ..errors import CheckpointError
from ..modules.saving import check_module, load_arrays, matching
from ..nn import GRU, LSTM, RNN, GRUCell, Module, RNNCell
from ..storage.archives import arrays_of
from ..storage.weights import read_weights
from .name_map import Names, renamed
from .torch_modules import build


def from_torch(
    source: Any, into: Module | None = None, *, names: Names | None = None, skip: str | Iterable[str] = ()
) -> Any:
    """Bring weights, or a whole module, from PyTorch.

    Parameters
    ----------
    source : mapping, path or torch.nn.Module
        A state dict, of tensors or NumPy arrays; the path of a file of one, see :func:`~tinygrad_rnn.io.read_weights`
        (PyTorch has to be installed for ``.pt`` and ``.pth`` only, and no code in them is run); or a module.
    into : Module, optional
        Where the weights go, all or none of them. Names and shapes of modules here are those of ``torch.nn``.
    names : mapping of str to str or None, optional
        From names there, or their beginnings up to a dot, to names here:
        ``{"encoder.lstm": "rnn", "fc": "head", "criterion": None}``. None leaves arrays out, ``""`` stands for all:
        ``{"module": ""}`` takes a beginning away.
    skip : str or iterable of str
        Names of `into` that keep their values, as patterns: ``"head.*"``.

    Returns
    -------
    Module
        `into`, with the weights; or without it, of a ``torch.nn.Module`` its equal here: of RNN, LSTM, GRU, Linear,
        Embedding, LayerNorm, Dropout and activations, alone or in ``Sequential``, ``ModuleList`` and ``ModuleDict``.
    dict of str to ndarray
        Of a state dict or a file, without `into`: copies under the names here.

    Raises
    ------
    CheckpointError
        If a file is damaged, holds something else, or needs PyTorch, which is not there; if weights do not fit `into`:
        what is missing, too many, or of another shape or dtype is listed; if the module has parts without an equal
        here, which are listed.
    ValueError
        If a part of `into` computes something that PyTorch's does not, such as a GRU with ``reset_after=False``.
    OSError
        If there is no such file.

    Notes
    -----
    Values are cast to the dtype of `into`; to keep float64, make it so: ``nn.LSTM(3, 4, dtype="float64")``. Inputs of
    layers here are time-major too, (T, B, features), unless ``batch_first=True``; those of ``Conv1d`` and
    ``BatchNorm1d`` have the channels last.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> class Tagger(nn.Module):
    ...     def __init__(self):
    ...         self.rnn, self.head = nn.GRU(3, 4), nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.head(self.rnn(x)[0])
    >>> state = {  # such as torch_model.state_dict()
    ...     "encoder.weight_ih_l0": np.ones((12, 3)), "encoder.weight_hh_l0": np.ones((12, 4)),
    ...     "encoder.bias_ih_l0": np.ones(12), "encoder.bias_hh_l0": np.ones(12),
    ...     "fc.weight": np.ones((2, 4)), "fc.bias": np.ones(2), "criterion.weight": np.ones(2),
    ... }
    >>> names = {"encoder": "rnn", "fc": "head", "criterion": None}
    >>> model = tr.io.from_torch(state, into=Tagger(), names=names)
    >>> float(model.head.bias[0])
    1.0
    """
    if _is_torch_module(source):
        if into is None:
            if names is not None or skip:
                raise TypeError("names, skip: got them for a module that is to be built, wanted them with into")
            return build(source)
        source = source.state_dict()
    if into is not None:
        check_module(into, "into")
        _check_equal(into, "into")
        skipped = matching(into.state_dict(), skip)
    title = source if isinstance(source, str | PathLike) else "source"
    arrays = renamed(_arrays(source), names)
    if into is None:
        return arrays
    load_arrays(into, arrays, title, skipped=skipped, by_names=True)
    return into


def to_torch(module: Module, *, names: Names | None = None) -> dict[str, Any]:
    """A state dict for PyTorch: ``torch_module.load_state_dict(tr.io.to_torch(module))``.

    Parameters
    ----------
    module : Module
    names : mapping of str to str or None, optional
        From names here, or their beginnings up to a dot, to names there; see :func:`from_torch`.

    Returns
    -------
    dict of str to torch.Tensor
        Copies of all parameters and persistent buffers, to the bit.

    Raises
    ------
    CheckpointError
        If PyTorch is not there: ``nn.save(module, "weights.safetensors")`` writes what it can read, without it.
    ValueError
        If a part of the module computes something that PyTorch's of that name does not; all such are listed.
    """
    check_module(module, "module")
    _check_equal(module, "module")
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            "to_torch makes tensors of PyTorch, which is not there: pip install torch, or write a file with "
            'nn.save(module, "weights.safetensors")'
        ) from None
    return {name: torch.from_numpy(array) for name, array in renamed(module.state_dict(), names).items()}


def _is_torch_module(source: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def _arrays(source: Any) -> dict[str, np.ndarray]:
    if isinstance(source, str | os.PathLike):
        return read_weights(source)
    if not isinstance(source, Mapping):
        raise TypeError(f"source: got {shown(source)}, wanted a state dict, a path or a torch.nn.Module")
    try:
        return {name: array.copy() for name, array in arrays_of(source).items()}
    except CheckpointError as error:
        raise CheckpointError(f"source: {error}") from None


def _check_equal(module: Module, argument: str) -> None:
    """Raise ValueError if a part of a module has an option that ``torch.nn`` has not."""
    problems = [f"{name or 'itself'}: {why}" for name, part in module.named_modules() if (why := _only_here(part))]
    if problems:
        raise ValueError(f"{argument}: got what PyTorch's modules do not compute:\n  " + "\n  ".join(problems))


def _only_here(part: Module) -> str:
    """The option of a layer that PyTorch's layer of this name does not have; "" if it has them all."""
    title = type(part).__name__
    if isinstance(part, GRU | GRUCell) and not part.reset_after:
        return f"{title} with reset_after=False, PyTorch's reset gate acts after the product"
    if isinstance(part, RNN | RNNCell) and part.nonlinearity not in ("tanh", "relu"):
        return f"{title} with nonlinearity={part.nonlinearity!r}, PyTorch has tanh and relu"
    if isinstance(part, RNN | LSTM | GRU):
        if part.reverse:
            return f"{title} with reverse=True, which PyTorch's does not have"
        if part.bidirectional and part.merge != "concat":
            return f"{title} with merge={part.merge!r}, PyTorch joins both directions"
    return ""
