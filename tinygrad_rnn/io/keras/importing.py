"""`from_keras`: weights, or a whole model, of a file of Keras 3."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

from ...data._files import content
from ...errors import CheckpointError
from ...modules.saving import check_module, load_arrays, matching
from ...nn import GRU, LSTM, RNN, Module
from ...recurrent.scan.driver import check_mode
from ...storage.weights import reading
from ..name_map import Names, renamed
from .configuration import MODELS, check_all
from .keras_model import KerasModel
from .reading import Group, read
from .weights import arrays_of


def from_keras(
    path: str | PathLike[str],
    into: Module | None = None,
    *,
    names: Names | None = None,
    skip: str | Iterable[str] = (),
    mode: str = "auto",
) -> Any:
    """Bring weights, or a whole model, from Keras 3; needs h5py: ``pip install "tinygrad_rnn[keras]"``.

    Parameters
    ----------
    path : path
        A ``.keras`` or ``.weights.h5`` file. No code in it is run: layers are looked up in a table.
    into : Module, optional
        Where the weights go, all or none of them. Those of a layer have its name before them, then ours:
        ``lstm.weight_ih_l0``, ``dense.weight``; of Bidirectional also ``bidirectional.weight_ih_l0_reverse``.
    names : mapping of str to str or None, optional
        From these names, or their beginnings up to a dot, to those of `into`: ``{"lstm": "rnn", "dense": "head"}``.
        None leaves arrays out.
    skip : str or iterable of str
        Names of `into` that keep their values, as patterns: ``"head.*"``.
    mode : {"auto", "compiled", "eager"}
        How recurrent layers of a model that is made run.

    Returns
    -------
    Module
        `into`, with the weights; or without it, of a ``.keras`` file, the model itself: Sequential or Functional, of
        SimpleRNN, LSTM, GRU, Bidirectional, Dense, Embedding, LayerNormalization, BatchNormalization, Conv1D,
        TimeDistributed, Dropout, Masking, activations, and layers that merge, pool and reshape. It takes (B, T, ...),
        as there, and is in evaluation mode.
    dict of str to ndarray
        Of a ``.weights.h5`` file, without `into`: its arrays, under the names here, or those of `names`.

    Raises
    ------
    CheckpointError
        If the file is damaged or holds something else; if it has layers that are not there, which are all listed; if
        weights do not fit `into`, whose differences are listed.
    OSError, DataError
        If there is no such file, or it is larger than the memory.

    Notes
    -----
    Keras's LSTM has our gates in our order, its GRU ours in another: they are put in order. One bias there is two
    here, of which the second begins as zero, but for a GRU with ``reset_after``, which has both. A GRU without it needs
    ``nn.GRU(..., reset_after=False)``. Files of weights name layers by class and number (``lstm_1``); if they keep the
    names of the layers, these count. What ``mask_zero`` and Masking leave out is left out here, too.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> model = nn.ModuleDict({"rnn": nn.LSTM(3, 4), "head": nn.Linear(4, 1)})
    >>> tr.io.from_keras("model.weights.h5", into=model, names={"lstm": "rnn", "dense": "head"})  # doctest: +SKIP
    """
    check_mode(mode)
    skipped = set() if into is None else matching(check_module(into, "into").state_dict(), skip)
    with content(path) as data, reading(path, "a file of Keras"):
        config, group = read(data)
        if into is not None or config is None:
            arrays = arrays_of(group)
        elif names is None and not skip:
            return _made(config, group, mode, path)
    if into is None and config is not None:
        raise TypeError("names, skip: got them for a model that is to be made, wanted them with into")
    arrays = renamed(arrays, names)
    if into is None:
        return arrays
    load_arrays(into, arrays, path, skipped=skipped, by_names=True)
    return into


def _made(config: Any, group: Group, mode: str, path: Any) -> KerasModel:
    """The model of a configuration, with its weights."""
    if not isinstance(config, dict) or config.get("class_name") not in MODELS:
        kind = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(f"holds a {kind}, wanted one of {', '.join(MODELS)}; load its weights with into")
    lines = check_all(config["config"].get("layers"))
    if lines:
        raise CheckpointError("has layers that cannot be made here:\n  " + "\n  ".join(lines))
    model = KerasModel(config["config"], group)
    arrays = {name: array for name, array in arrays_of(group).items() if ".vars." not in name}
    names = {old: new for old, new in model.names().items() if any(n.startswith(f"{old}.") for n in arrays)}
    load_arrays(model, renamed(arrays, names), f"path: got {path}")
    for module in model.eval().modules():
        if isinstance(module, RNN | LSTM | GRU):
            module.mode = mode
    return model
