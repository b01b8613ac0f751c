"""The weights of a trained model as a file, with the settings and facts that using them needs."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy as safetensors
from safetensors import SafetensorError, safe_open

from tinygrad_rnn import nn
from tinygrad_rnn.errors import CheckpointError, TinygradError
from tinygrad_rnn.storage.files import write_whole

from ._parser import PROG

KEY = "tinygrad_rnn.models"  # in the metadata of weights
HASH = "tinygrad_rnn.sha256"  # there too, of that and of the weights
# what safetensors, NumPy, JSON and constructors make of a damaged file
UNREADABLE = (
    *(SafetensorError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RecursionError, MemoryError, ImportError),
)
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def load(args: argparse.Namespace, model: str, kind: Callable[..., AnyModule], name: str = "weights"):
    """A trained model, made by ``kind(**settings)``, in evaluation mode, and the facts saved with it.

    Raises
    ------
    FileNotFoundError
        If there are no weights.
    CheckpointError
        Naming the file, if it holds something else than the weights of this model.
    """
    path = args.out / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there are no weights; train first: {PROG} {model} --out {args.out}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            about = json.loads(metadata.get(KEY, "{}"))
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: cannot be read as weights: {error}") from None
    about = about if isinstance(about, dict) else {}
    if about.get("model") != model:
        raise CheckpointError(f"{path}: got weights of {about.get('model', 'no model')}, wanted those of {model}")
    if metadata != sealed(metadata[KEY], arrays):
        raise CheckpointError(f"{path}: got damaged weights, or those of another version: the hash differs")
    settings, facts = about.get("settings"), about.get("facts")
    if not isinstance(settings, dict) or not isinstance(facts, dict):
        raise CheckpointError(f"{path}: got weights without settings and facts, wanted what {model} writes")
    entries = sum(array.size for array in arrays.values())
    for key, value in settings.items():
        if isinstance(value, int) and value > entries:  # it would be made in vain, and may not fit the memory
            raise CheckpointError(f"{path}: got {key} = {value} for {entries} weights, wanted what {model} writes")
    try:
        module = kind(**settings)
        module.load_state_dict(arrays)
    except (*UNREADABLE, TinygradError) as error:
        raise CheckpointError(f"{path}: got weights that do not fit their settings: {error}") from None
    module.eval()
    return module, Facts(path, facts)


def save(path: Path, module: nn.Module, model: str, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write the weights of `model`, with what makes the module anew and what using it needs."""
    text = json.dumps({"model": model, "settings": settings, "facts": facts}, default=listed)
    arrays = {key: np.ascontiguousarray(array) for key, array in module.state_dict().items()}
    write_whole(path, safetensors.save(arrays, sealed(text, arrays)))


def sealed(text: str, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The metadata of weights: what is said of them, and a hash by which damage is seen."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass"))
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode(errors="surrogatepass"))
        digest.update(arrays[name].tobytes())
    return {KEY: text, HASH: digest.hexdigest()}


class Facts(dict):
    """What is saved with weights; what is missing is told with the name of the file."""

    def __init__(self, path: Path, facts: Mapping[str, Any]):
        super().__init__(facts)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"{self.path}: got no {key!r} with the weights, wanted what the training writes")


def listed(value):
    """Arrays and NumPy numbers for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"got {type(value).__name__}, wanted what JSON can hold")
