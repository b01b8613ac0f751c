"""Names of PyTorch and NumPy that are called otherwise here, each with what to write instead."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

TENSOR: Mapping[str, str] = {  # methods and attributes of tensors
    "add_": "t += value, inside tr.no_grad()",
    "cpu": "tensors are on the CPU: leave it out",
    "cuda": "there is no GPU: leave it out",
    "clamp": "tr.clip(t, min, max)",
    "clone": "t.copy()",
    "contiguous": "leave it out; operations take any layout",
    "device": "tensors are on the CPU",
    "dim": "t.ndim",
    "double": 't.astype("float64")',
    "eq": "t == other",
    "expand": "tr.broadcast_to(t, shape)",
    "float": 't.astype("float32")',
    "gather": "tr.take_along_axis(t, indices, axis)",
    "ge": "t >= other",
    "gt": "t > other",
    "int": 't.astype("int32")',
    "le": "t <= other",
    "logsumexp": "tr.logsumexp(t, axis)",
    "long": 't.astype("int64")',
    "lt": "t < other",
    "masked_fill": "tr.where(mask, value, t)",
    "mm": "t @ other",
    "bmm": "t @ other",
    "movedim": "tr.moveaxis(t, source, destination)",
    "mul": "t * other",
    "mul_": "t *= value, inside tr.no_grad()",
    "mv": "t @ other",
    "nelement": "t.size",
    "new_zeros": "tr.zeros(shape, dtype=t.dtype)",
    "norm": "tr.norm(t)",
    "numel": "t.size",
    "permute": "t.transpose(*axes)",
    "pow": "t ** exponent",
    "softmax": "tr.softmax(t, axis)",
    "split": "tr.split(t, indices, axis)",
    "sub_": "t -= value, inside tr.no_grad()",
    "t": "t.T",
    "to": "t.astype(dtype); tensors are on the CPU",
    "type": "t.astype(dtype), or t.dtype",
    "unsqueeze": "tr.expand_dims(t, axis)",
    "view": "t.reshape(shape)",
    "where": "tr.where(condition, t, other)",
}

PACKAGE: Mapping[str, str] = {  # functions of torch and numpy, sought in tinygrad_rnn
    "amax": "tr.max(t, axis)",
    "amin": "tr.min(t, axis)",
    "asarray": "tr.as_tensor(data)",
    "array": "tr.tensor(data)",
    "bmm": "tr.matmul(a, b)",
    "cat": "tr.concat(tensors, axis)",
    "chunk": "tr.split(t, sections, axis)",
    "clamp": "tr.clip(t, min, max)",
    "concatenate": "tr.concat(tensors, axis)",
    "float32": '"float32", or np.float32',
    "float64": '"float64", or np.float64',
    "from_numpy": "tr.as_tensor(array)",
    "int64": '"int64", or np.int64',
    "long": '"int64", or np.int64',
    "bool": '"bool", or np.bool_',
    "manual_seed": "tr.seed(n)",
    "masked_fill": "tr.where(mask, value, t)",
    "mm": "tr.matmul(a, b)",
    "mul": "tr.multiply(a, b)",
    "movedim": "tr.moveaxis(t, source, destination)",
    "neg": "tr.negative(t)",
    "permute": "tr.transpose(t, axes)",
    "pow": "tr.power(t, exponent)",
    "randint": "np.random.default_rng(seed).integers(low, high, shape)",
    "random": "tr.seed(n) and tr.randn(shape)",
    "save": "nn.save(module, path)",
    "load": "nn.load(module, path)",
    "sub": "tr.subtract(a, b)",
    "div": "tr.divide(a, b)",
    "true_divide": "tr.divide(a, b)",
    "unsqueeze": "tr.expand_dims(t, axis)",
    "view": "tr.reshape(t, shape)",
}

NN: Mapping[str, str] = {  # modules of torch.nn
    "MultiheadAttention": "nn.LuongAttention, which has one head",
    "utils": "optim.clip_grad_norm_ for clipping; layers take lengths= in the place of packed sequences",
}

FUNCTIONAL: Mapping[str, str] = {  # functions of torch.nn.functional
    "dropout": "the layer nn.Dropout",
    "embedding": "tr.embedding(table, ids)",
    "logsigmoid": "tr.log_sigmoid",
    "pad": "tr.pad",
}

OPTIM: Mapping[str, str] = {  # of torch.optim
    "lr_scheduler": "the schedules stand in tinygrad_rnn.optim itself",
    "LinearLR": "optim.LinearWarmup",
}

ARGUMENTS: Mapping[str, str] = {"dim": "axis", "keepdim": "keepdims", "hx": "state"}  # of functions and layers


def missing(owner: str, name: str, table: Mapping[str, str]) -> AttributeError:
    """The error for an attribute that `owner` lacks, with what to write instead if that is known."""
    text = f"{owner} has no attribute {name!r}"
    return AttributeError(f"{text}; it is {table[name]}" if name in table else text)


class Elsewhere:
    """A name of a class that stands for no attribute, but has an answer."""

    def __init__(self, owner: str, name: str, table: Mapping[str, str]):
        self.owner, self.name, self.table = owner, name, table

    def __get__(self, instance: Any, owner: type) -> Elsewhere:
        if instance is None:
            return self
        raise missing(self.owner, self.name, self.table)


def check_arguments(function: str, given: Mapping[str, Any]) -> None:
    """Raise TypeError if an argument has PyTorch's name."""
    for name in given:
        if name in ARGUMENTS:
            raise TypeError(f"{function}: got the argument {name!r}; it is {ARGUMENTS[name]}= here")


def answering(function: Callable) -> Callable:
    """The function with an answer for arguments that have PyTorch's names."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        if kwargs and not ARGUMENTS.keys().isdisjoint(kwargs):
            check_arguments(function.__name__, kwargs)
        return function(*args, **kwargs)

    return call
