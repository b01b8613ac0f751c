"""A model becomes a graph: traced with inputs of several sizes, unified, and compared with the tape."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import compiler, config
from ..core import Tensor, tree
from ..core.tree import Structure
from ..errors import CompileError, ExportError, TinygradError
from ..modules.module import Module
from ..programs.capture import Recorded, record
from ..programs.nests import flatten, read_arguments
from ..programs.reach import Root
from ..recurrent.scan.driver import MODES
from ..recurrent.scan.loop import reason_of
from ..recurrent.scan.tracing import close
from .evaluate import evaluate
from .graph import SCAN, Graph, Input, Value
from .recorder import ExportTrace
from .sizes import named, spread
from .unify import Unifier, Unlike

FAR = 1009  # a length far from any example's, at which a model may do something else
MOST_TRIES = 256  # ways in which the axes of the inputs may belong together
Axes = tuple[tuple[str | None, ...], ...]  # of each input the names of its axes; None: of the length in the example


def trace(model: Any, example: Any) -> Graph:
    """The graph of a model, in evaluation mode.

    Parameters
    ----------
    model : Module, or a method of one
    example : array, or a tuple of the model's arguments
        Arrays, tensors, numbers and nests of these. Their first two axes may have other lengths later, where the model
        takes them; axes that are as long as each other here stay so.

    Raises
    ------
    ExportError
        If it cannot be traced, or does other things with other sizes or values.
    """
    owner = owner_of(model)
    args = example if type(example) is tuple else (example,)
    leaves: list = []
    structure = flatten(args, leaves)
    dtype = next((p.dtype for p in owner.parameters() if p.dtype.kind == "f"), None)
    leaves = [_of_dtype(leaf, dtype) for leaf in leaves]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor | np.ndarray)]
    if not places:
        raise ExportError("example: got no array, wanted the arguments of a call of the model")
    with evaluating(owner), compiler.making, config.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Tracing(model, owner, structure, leaves, places).graph()


def owner_of(model: Any) -> Module:
    """The module that a model is, or is a method of."""
    owner = getattr(model, "__self__", None) if inspect.ismethod(model) else model
    if not isinstance(owner, Module):
        raise TypeError(f"model: got {type(model).__name__}, wanted an nn.Module, or a method of one")
    return owner


@contextlib.contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Context in which all parts of a model are in evaluation mode, and recurrent layers run on the tape."""
    before = [
        (module, {k: v for k, v in vars(module).items() if k in ("training", "mode")}) for module in model.modules()
    ]
    model.eval()
    for module, options in before:
        if options.get("mode") in MODES:
            vars(module)["mode"] = "eager"
    try:
        yield
    finally:
        for module, options in before:
            vars(module).pop("training", None)
            vars(module).update(options)


def _of_dtype(leaf: Any, dtype: np.dtype | None) -> Any:
    """Arrays of floats in the dtype of the model, as layers take them."""
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" and dtype is not None:
        return np.asarray(leaf, dtype)
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


class Tracing:
    """The tracing of one model with one example.

    Parameters
    ----------
    model : Module, or a method of one
    owner : Module
    structure : Structure
        Of the arguments.
    leaves : list
    places : list of int
        Which of the leaves are inputs.
    """

    def __init__(self, model: Any, owner: Module, structure: Structure, leaves: list, places: list[int]):
        self.model, self.structure, self.leaves, self.places = model, structure, leaves, places
        self.arrays = [_array(leaves[i]) for i in places]
        self.modules = dict(owner.named_modules())
        self.title = type(owner).__name__
        self.paths = {id(module): name for name, module in self.modules.items()}
        self._known: dict[Any, Recorded] = {}
        self.names = {id(t): name for name, t in [*owner.named_parameters(), *owner.named_buffers()]}

    def graph(self) -> Graph:
        """The graph, with as many sizes left open as the model allows."""
        with np.errstate(all="ignore"):
            self.model(*self._arguments(self.arrays))  # its own errors; and layers may keep what they make once
        self._record({}, ())  # what is wrong with the model itself is said of the example
        return self.with_axes(self._open_axes())

    # ---- which axes have a size of their own

    def _open_axes(self) -> Axes:
        """Names for the axes whose lengths the model does not fix; those of one name are of one length."""
        axes: list[list[str | None]] = [[None] * a.ndim for a in self.arrays]
        places = [(i, axis) for i, a in enumerate(self.arrays) for axis in range(min(a.ndim, 2))]
        sizes: dict[str, int] = {}
        for i, axis in places:
            if axes[i][axis] is not None:
                continue
            length, name = self.arrays[i].shape[axis], f"N{len(sizes)}"
            rest = [p for p in places if p[0] > i and axes[p[0]][p[1]] is None]
            for others in _groups(rest, self.arrays, length):
                tried = [[*names] for names in axes]
                for j, other in ((i, axis), *others):
                    tried[j][other] = name
                more = [{**sizes, name: length + 7 + len(sizes) + i} for i in range(2)]  # odd and even
                if all(self._takes(each, tuple(map(tuple, tried))) for each in more):
                    axes, sizes = tried, more[0]
                    break
        return tuple(map(tuple, axes))

    def _takes(self, sizes: dict[str, int], axes: Axes) -> bool:
        """Whether the model runs with other sizes; if it cannot be traced then, that is another matter."""
        try:
            self._record(sizes, axes)
        except ExportError:
            return True
        except (ArithmeticError, LookupError, TypeError, ValueError, TinygradError):
            return False
        return True

    # ---- traces

    def with_axes(self, axes: Axes) -> Graph:
        """The graph in which these axes have names."""
        sizes: dict[str, tuple[int, int]] = {}
        for i, names in enumerate(axes):
            for axis, name in enumerate(names):
                if name is not None:
                    sizes.setdefault(name, (i, axis))
        example = {name: self.arrays[i].shape[axis] for name, (i, axis) in sizes.items()}
        samples = self._samples(example, axes) if example else [{}, {}]
        recorded = [self._record(sample, axes) for sample in samples]
        if example:
            new = _renamed(recorded, samples)
            axes = tuple(tuple(None if n is None else new[n] for n in names) for names in axes)
            sizes = {new[n]: place for n, place in sizes.items()}
            samples = [{new[n]: size for n, size in sample.items()} for sample in samples]
        words = _input_names(getattr(self.model, "forward", self.model), self.structure, self.places)
        inputs = []
        for word, array, names in zip(words, self.arrays, axes):
            shape = tuple(n if name is None else named(name) for n, name in zip(array.shape, names))
            inputs.append(Input(shape, array.dtype, word))
        traces: list[Any] = [r.trace for r in recorded]
        unifier = Unifier(traces, samples, inputs, self.names)
        outputs, structure = self._outputs(recorded, unifier)
        places = {name: (inputs[i], axis) for name, (i, axis) in sizes.items()}
        title = self.title
        graph = Graph(title, inputs, outputs, structure, places, self.modules, self.arrays, self.structure, self.names)
        self._compare(graph, samples, axes)
        return graph

    def _samples(self, example: dict[str, int], axes: Axes) -> list[dict[str, int]]:
        """Sizes to trace with, that of the example first, all of which the model takes."""
        near = spread(example)
        far = [{**near[0], name: FAR} for name in example]
        taken = [near[0], *[sample for sample in [*near[1:], *far] if self._takes(sample, axes)]]
        if len(taken) < 4:
            raise ExportError(
                f"example: got one of which the model takes no other sizes than {taken}, wanted some within its limits"
            )
        return taken

    def _outputs(self, recorded: Sequence[Recorded], unifier: Unifier) -> tuple[list[Value], Structure]:
        one = recorded[0]
        if any(r.structure != one.structure for r in recorded):
            raise Unlike("the model returns other nests for inputs of other sizes")
        symbols = [s for s in one.leaves if isinstance(s, compiler.Symbol)]
        if len(symbols) < len(one.leaves):
            kind = next(type(s).__name__ for s in one.leaves if not isinstance(s, compiler.Symbol))
            raise ExportError(
                f"result: got a {kind}, which no call computes: return tensors, in tuples, lists and dicts"
            )
        return [unifier.value(group) for group in zip(*(r.leaves for r in recorded))], one.structure

    def _record(self, sample: dict[str, int], axes: Axes) -> Recorded:
        arrays = self.resized(sample, axes)
        key = tuple(a.shape for a in arrays) if sample else None  # without a size, twice: is it the same?
        if key not in self._known:
            arguments = read_arguments(self._arguments(arrays), {})
            trace = ExportTrace(self.paths)
            try:
                self._known[key] = record(trace, Root(self.model), self.model, arguments, False, {})
            except CompileError as error:
                raise ExportError(reason_of(error)) from error
        return self._known[key] if key is not None else self._known.pop(key)

    def _arguments(self, arrays: Sequence[np.ndarray]) -> tuple:
        """The arguments of a call with these inputs."""
        leaves = [*self.leaves]
        for i, array in zip(self.places, arrays):
            leaves[i] = Tensor(array) if isinstance(leaves[i], Tensor) else array
        return tree.unflatten(self.structure, leaves)

    def resized(self, sample: dict[str, int], axes: Axes) -> list[np.ndarray]:
        """The inputs of the example with other sizes, repeated where they are longer."""
        found = []
        for i, array in enumerate(self.arrays):
            for axis, name in enumerate(axes[i] if axes else ()):
                if name is not None:
                    array = np.take(array, np.arange(sample[name]) % array.shape[axis], axis)
            found.append(array)
        return found

    def _compare(self, graph: Graph, samples: Sequence[dict[str, int]], axes: Axes) -> None:
        """Hold the graph against the tape, for the example and for another size."""
        for sample in (samples[0], samples[min(4, len(samples) - 1)]):
            arrays = self.resized(sample, axes)
            wanted: list = []
            with np.errstate(all="ignore"):
                flatten(self.model(*self._arguments(arrays)), wanted)
                found = evaluate(graph, arrays)
            for a, b in zip(found, map(_array, wanted)):
                alike = close(a, b, 0.0) if b.dtype.kind == "f" else np.array_equal(a, b)
                if not alike:
                    raise Unlike(
                        "traced, the model does not give what it gives on the tape: it decides by the values of its "
                        "inputs, or by something else that a trace does not show"
                    )


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def _groups(
    places: Sequence[tuple[int, int]], arrays: Sequence[np.ndarray], length: int
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Sets of axes of this length that may belong together, no two of one input: small ones first.

    Axes of length one come the other way round, as they fit any length.
    """
    inputs = {i: [p for p in places if p[0] == i and arrays[i].shape[p[1]] == length] for i, _ in places}
    choices = itertools.islice(itertools.product(*[[None, *found] for found in inputs.values()]), MOST_TRIES)
    groups = [tuple(p for p in choice if p is not None) for choice in choices]
    yield from sorted(groups, key=len, reverse=length == 1)


def _renamed(recorded: Sequence[Recorded], samples: Sequence[dict[str, int]]) -> dict[str, str]:
    """Better names of sizes: B for the batch of the recurrent layers, or the first one, T for the next."""
    batches = []
    for r in recorded:
        trace: Any = r.trace
        scan = next((s for s in trace.symbols.values() if s.op is SCAN), None)
        batches.append(None if scan is None else scan.args[0].shape[scan.static["scan"].layout.batch_axis])
    names = list(samples[0])
    batch = next((n for n in names if all(s[n] == b for s, b in zip(samples, batches))), None)
    others = [n for n in names if n != batch]
    words = itertools.chain("TSU" if batch else "BTS", map("N{}".format, itertools.count()))
    return {**({batch: "B"} if batch else {}), **dict(zip(others, words))}


def _input_names(function: Any, structure: Structure, places: Sequence[int]) -> list[str]:
    """Names of the inputs: of the parameters of ``forward``, with the place in a nest behind them."""
    parameters = list(inspect.signature(function).parameters.values())
    words: list[str] = []
    for i, item in enumerate(structure[2]):
        kind = parameters[min(i, len(parameters) - 1)]
        word = f"{kind.name}_{i}" if kind.kind is kind.VAR_POSITIONAL else kind.name
        words += [f"{word}{suffix}" for suffix in suffixes(item)]
    return [words[i] for i in places]


def suffixes(structure: Structure) -> list[str]:
    if structure is tree.LEAF:
        return [""]
    kind, keys, items = structure
    labels = keys or getattr(kind, "_fields", None) or range(len(items))
    return [f"_{label}{suffix}" for label, item in zip(labels, items) for suffix in suffixes(item)]
