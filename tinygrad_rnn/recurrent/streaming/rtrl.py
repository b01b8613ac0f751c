"""RTRL: exact gradients of streams, forward in time, in memory independent of their length."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ... import config
from ...checks import MOST_ELEMENTS, whole_number
from ...core import Tensor, as_tensor, tree
from ...core.backward import backward
from ...core.finding import all_finite
from ...errors import AnomalyError, CompileError, GraphError, ShapeError
from ..as_tensors import as_input
from ..cell import Cell, check_state
from ..scan.anomaly import StreamStep, not_finite, quietly
from ..scan.arguments import Arguments
from ..scan.facts import static_attributes
from ..scan.loop import raise_out_of_range
from ..scan.open_sequence import OpenSequence


class RTRL:
    """Real-time recurrent learning for cells whose recurrence is diagonal (Williams and Zipser 1989).

    Backpropagation through time keeps all steps until the end of a sequence. This keeps, instead, the derivative of
    the present state by every parameter and carries it along: ``dS/dp`` of the new state is
    ``J * dS/dp + ds/dp``, with the Jacobian J of the step. Gradients of the loss at each step are there at once, and
    are those of backpropagation through time to rounding as long as parameters stay; where they are updated along the
    way, the past counts as it was computed.

    For a recurrence in general that takes memory of units times parameters. Where unit i of the new state depends on
    unit i of the old one only, J is diagonal (K by K for each unit, of a state of K tensors), each entry of a
    parameter reaches one unit, and the derivatives take ``K * batch_size`` times the memory of those parameters (Mozer
    1989; Zucchet et al. 2023, "Online learning of long-range dependencies"). Which cells these are is read off their
    traced steps: :class:`~tinygrad_rnn.nn.IndRNNCell`, :class:`~tinygrad_rnn.nn.LRUCell`,
    :class:`~tinygrad_rnn.nn.MinGRUCell`, :class:`~tinygrad_rnn.nn.MinLSTMCell`, and your own. All pieces of the
    derivatives come from the rules of the operations.

    Parameters
    ----------
    cell : Cell or Recurrent
    batch_size : int
        Streams side by side.
    example : Tensor or array or nest of such, (B, ...), optional
        An input of one step; needed where the cell has no ``input_size``.

    Attributes
    ----------
    cell : Cell
    state : nest of tensors, (B, n)
        The present state.
    nbytes : int
        Memory of the derivatives.

    Raises
    ------
    GraphError
        If the recurrence is not diagonal, or an entry of a parameter reaches several units; the operation is named.
    CompileError
        If the step cannot be traced.

    Notes
    -----
    Steps are not compiled: each operation of the step, and of its derivatives, is a call of NumPy. On one core, a step
    of one stream with its gradients takes about 0.3 ms for an IndRNN of 32 units and 0.9 ms for an LRU of 32, most of
    it calls. Backpropagation through a compiled loop takes about a microsecond for a step of a long sequence: where
    gradients may wait for the end of a chunk, :class:`~tinygrad_rnn.train.TruncatedBPTT` is faster by far.

    Examples
    --------
    A stream with a loss and an update at each step:

    >>> import numpy as np
    >>> from tinygrad_rnn import nn, optim
    >>> cell, head = nn.LRUCell(1, 8, r_min=0.9), nn.Linear(8, 1)
    >>> optimizer = optim.Adam([*cell.parameters(), *head.parameters()], lr=1e-3)
    >>> learner = nn.RTRL(cell)
    >>> for t in range(20):
    ...     y = learner.step(np.array([[np.sin(0.3 * t)]]))
    ...     loss = nn.mse_loss(head(y), np.array([[np.sin(0.3 * (t + 1))]], np.float32))
    ...     loss.backward()
    ...     learner.accumulate()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    """

    def __init__(self, cell: Any, batch_size: int = 1, example: Any = None):
        if hasattr(cell, "streamed_cell"):
            cell = cell.streamed_cell("RTRL: cell")
        if not isinstance(cell, Cell):
            raise TypeError(f"RTRL: cell: got {type(cell).__name__}, wanted an nn.Cell or nn.Recurrent")
        self.cell = cell
        self.batch_size = whole_number("RTRL: batch_size", batch_size, 1, MOST_ELEMENTS, error=ShapeError)
        self._name = f"RTRL: {type(cell).__name__}"
        if example is None:
            if cell.input_size is None:
                raise ShapeError(f"{self._name} sets no input_size; pass example=, an input of one step")
            example = np.zeros((self.batch_size, cell.input_size))
        leaves, self._structure = tree.flatten(example)
        self._rows = [as_input(x, cell.dtype, f"{self._name}: example") for x in leaves]
        for x in self._rows:
            if not x.shape or x.shape[0] != self.batch_size:
                raise ShapeError(f"{self._name}: example: got shape {x.shape}, wanted ({self.batch_size}, ...)")
        self._static: Any = None
        self.reset()

    def reset(self, state: Any = None) -> None:
        """Begin a new sequence, from `state` or from the cell's initial state.

        Gradients reach the state that is given, if it requires them, or the parameters that the initial state is
        made of.
        """
        from ...compiler import Influence  # at first use, as importing the compiler takes a while

        cell, batch = self.cell, self.batch_size
        with config.enable_grad():
            self._first, self._state_structure = check_state(cell, state, batch)
        self._sequence = OpenSequence(cell, batch)
        with self._sequence.active():
            static = static_attributes(cell), [p.requires_grad for p in cell.parameters()]
            if static != self._static:
                self._prepare()
                self._static = static
        self._states = [s.data for s in self._first]
        step = self._step
        self._influence = Influence(step.parts, len(self._first), batch, step.units, self._states[0].dtype)
        self._linearization: Any = None
        self._outputs: list[Tensor] = []
        self._time = 0  # steps since the beginning
        self._taken: StreamStep | None = None  # the last step, if it is looked after
        self._spoiled: AnomalyError | None = None  # why the derivatives that are carried along are not finite

    def _prepare(self) -> None:
        """Trace the step again."""
        from ...compiler import DiagonalStep
        from ..scan.compiled import trace_program

        rows = [Tensor(x.data[None]) for x in self._rows]
        program = trace_program(self.cell, Arguments(rows, self._structure, self._first, self._state_structure))
        if isinstance(program, str):
            raise CompileError(f"{self._name}: {program}")
        self._program = program
        self._bases = self._base_tensors()
        wanted = {s.uid for s, t in zip(program.bases, self._bases) if t.requires_grad}
        try:
            self._step = DiagonalStep(program.traced, wanted, self._name_of)
        except GraphError as error:
            raise GraphError(f"{self._name}: {error}") from None

    def _base_tensors(self) -> list[Tensor]:
        """The present tensors of the bases: parameters, and values computed from them."""
        with config.enable_grad(), self._sequence.active(), quietly():
            tensors = self._program.base_tensors(self.batch_size)
        if tensors is None:
            raise ShapeError(f"{self._name}: parameters changed their shapes or dtypes; make a new RTRL")
        return tensors

    def _name_of(self, base: Any) -> str:
        """The name of a base in messages: that of the parameter, if it is one."""
        known = {id(p): name for name, p in self.cell.named_parameters()}
        tensor = self._bases[[s.uid for s in self._program.bases].index(base.uid)]
        return known.get(id(tensor), f"a value of shape {tensor.shape} that is computed from parameters")

    @property
    def state(self) -> Any:
        return tree.unflatten(self._state_structure, [Tensor(s.copy()) for s in self._states])

    @property
    def nbytes(self) -> int:
        return self._influence.nbytes

    def step(self, x: Any) -> Any:
        """One step; the state moves on.

        Parameters
        ----------
        x : Tensor or array, (B, ...), or a nest of such

        Returns
        -------
        Tensor or nest of tensors, (B, ...)
            The output, a leaf that requires gradients: after ``loss.backward()`` its ``grad`` is what
            :meth:`accumulate` takes.

        Raises
        ------
        ShapeError, DTypeError
            If `x` does not fit.
        GraphError
            If `x` requires gradients: those that flow through the state cannot be given back to earlier inputs.
        """
        leaves, treedef = tree.flatten(x)
        if treedef != self._structure:
            raise ShapeError(f"{self._name}: x: got {tree.describe(treedef)}, wanted {tree.describe(self._structure)}")
        inputs = []
        for leaf, row in zip(leaves, self._rows):
            t = as_input(leaf, self.cell.dtype, f"{self._name}: x")
            if t.shape != row.shape:
                raise ShapeError(f"{self._name}: x: got shape {t.shape}, wanted {row.shape}")
            if t.requires_grad:
                raise GraphError(f"{self._name}: x: requires gradients, wanted data or a detached tensor")
            inputs.append(t.data.copy())  # kept until the next step
        # The derivatives are carried over the step before only now: accumulate() needs them as they were before it.
        self._advance()
        self._taken = None
        if config.grad_mode.anomaly is not None:
            random, state = config.generator().bit_generator.state, (self._states, self._state_structure)
            self._taken = StreamStep(self.cell, self._sequence, (inputs, treedef), state, random, self._time)
        self._time += 1
        masks = [mask[0] for mask in self._program.draw(1, self.batch_size)]
        self._bases = self._base_tensors()
        bases = {s.uid: t.data for s, t in zip(self._program.bases, self._bases)}
        with config.no_grad(), quietly():
            found = self._step.run([*inputs, *masks], self._states, bases, self.batch_size)
        program = self._program.traced
        if program.checks:
            raise_out_of_range(program.checks, found.outputs[-1][None], False, self._name)
        self._linearization = found._replace(outputs=found.outputs[: program.visible])
        self._states = self._linearization.new_states
        if self._taken is not None:
            self._look_at(self._taken)
        # leaves: the graph of the loss ends here, and accumulate() goes on from their gradients
        self._outputs = [Tensor(y.copy(), True) for y in self._linearization.outputs]
        return tree.unflatten(self._program.output_structure, self._outputs)

    def _look_at(self, taken: StreamStep) -> None:
        """Check the last step; an error in its derivatives is kept until they are used."""
        linearization = self._linearization
        taken.check([*linearization.outputs, *linearization.new_states])
        if self._spoiled is None:
            factors = [a for _, *factors in itertools.chain(*linearization.direct) for a in factors]
            if not all(map(all_finite, [*itertools.chain(*linearization.jacobians), *factors])):
                try:
                    taken.find_rule(1, [np.ones_like(s) for s in self._states])
                except AnomalyError as error:
                    self._spoiled = error.with_traceback(None)

    def _advance(self) -> None:
        """Carry the derivatives over the step that was taken."""
        if self._linearization is not None:
            self._influence.advance(self._linearization)
            self._linearization = None

    def accumulate(self, dy: Any = None) -> None:
        """Add the gradients of a loss of the last output to ``grad`` of the cell's parameters.

        Parameters
        ----------
        dy : Tensor or array, or a nest of such, optional
            The gradient of the loss by the last output. Default: its ``grad``, which is then taken away.

        Raises
        ------
        GraphError
            If no step was taken, or the output has no gradient.
        ShapeError
            If `dy` does not fit the output.
        """
        if self._linearization is None:
            raise GraphError(f"{self._name}: accumulate: no step was taken since the beginning")
        cotangents = self._cotangents(dy)
        with config.no_grad(), quietly():
            grads, first = self._step.pull(self._linearization, cotangents, self._influence)
        if config.grad_mode.anomaly is not None and not all(map(all_finite, [*grads.values(), *first])):
            self._blame(cotangents)
        roots, seeds = [], []
        for s, t in zip(self._program.bases, self._bases):
            if t.requires_grad and s.uid in grads:  # a parameter, or the end of a graph that leads to some
                roots.append(t)
                seeds.append(grads[s.uid])
        for t, g in zip(self._first, first):
            if t.requires_grad:
                roots.append(t)
                seeds.append(g)
        if roots:
            backward(roots, seeds, Tensor, create_graph=False, retain_graph=True)

    def _blame(self, cotangents: list[np.ndarray]) -> None:
        """Raise the error that says why gradients are not finite."""
        for i, g in enumerate(cotangents):
            if not all_finite(g):
                raise not_finite(f"{self._name}: gradient of output {i}", g, self._time - 1)
        influence, text = self._influence, f"{self._name}: gradients at time step {self._time - 1} are not finite"
        if all(map(all_finite, [*influence.by_part.values(), influence.by_first])):
            if self._taken is None:
                raise AnomalyError(f"{text}; the step was taken outside of detect_anomaly()")
            self._taken.find_rule(0, cotangents)
        elif self._spoiled is not None:
            raise self._spoiled
        raise AnomalyError(
            f"{text}: derivatives of the state by parameters, which are carried along from step to step, grow beyond "
            "all numbers; start again with reset(), or keep the recurrence stable"
        )

    def _cotangents(self, dy: Any) -> list[np.ndarray]:
        if dy is None:
            given: list = [y.grad for y in self._outputs]
            if all(g is None for g in given):
                raise GraphError(f"{self._name}: accumulate: the output has no gradient; call loss.backward() before")
            for y in self._outputs:
                y.grad = None
        else:
            given, treedef = tree.flatten(dy)
            wanted = self._program.output_structure
            if treedef != wanted:
                raise ShapeError(f"{self._name}: dy: got {tree.describe(treedef)}, wanted {tree.describe(wanted)}")
        found = []
        for g, y in zip(given, self._outputs):
            g = np.zeros(y.shape, y.dtype) if g is None else as_tensor(g).data.astype(y.dtype, copy=False)
            if g.shape != y.shape:
                raise ShapeError(f"{self._name}: dy: got shape {g.shape}, wanted {y.shape} as the output")
            found.append(g)
        return found
