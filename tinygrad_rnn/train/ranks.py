"""Data-parallel training: processes (ranks) that share each batch, over MPI."""

from __future__ import annotations

import os
import random
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import config
from ..checks import missing
from ..core import Tensor
from ..data import DataLoader
from ..errors import DataError, NonFiniteError
from ..optim import Optimizer
from . import randomness, resume
from .alone import Alone
from .gradients import GradientsOf
from .resume import parameters
from .shares import LoaderShare, StreamShare, share_of
from .sums import Sums
from .tbptt import TruncatedBPTT


class Ranks(Alone):
    """The processes of a data-parallel training, started by ``mpiexec -n N python ...``.

    Each process runs the same program with the same seed: the same model, optimiser and data. Of each batch a process
    takes its part of the rows, computes their gradients, and the mean over all rows is what each of them updates with;
    so the size of the batch, the schedule and the number of updates are those of one process. Sums are taken in the
    order of the ranks: the same number of processes gives the same bits. Another number, also in a training that goes
    on from a checkpoint, gives the same numbers but for rounding and for random masks, of which each process draws
    its own.

    Process 0 writes checkpoints, prints and shows progress. An error of one process that the others do not share ends
    all of them.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, optional
        Default: all processes.

    Attributes
    ----------
    rank, size : int

    Raises
    ------
    ModuleNotFoundError
        If mpi4py is not installed: ``pip install "tinygrad_rnn[mpi]"``.

    Notes
    -----
    What counts in the loss is weighed by rows: a loss that is a mean over something else, such as the steps that a
    mask leaves, is the mean of the means of the parts. Gradients of n parameters cost each process about ``2 n``
    elements sent and received for a batch, whatever the number of processes.

    Examples
    --------
    In a script that is started by ``mpiexec -n 2 python script.py``, and by itself as well:

    >>> from tinygrad_rnn import nn, optim
    >>> from tinygrad_rnn.train import Ranks, Trainer
    >>> model = nn.Linear(3, 1)
    >>> optimizer = optim.Adam(model.parameters())
    >>> trainer = Trainer(model, optimizer, nn.mse_loss, ranks=Ranks())  # doctest: +SKIP
    """

    def __init__(self, communicator: Any = None):
        try:
            from mpi4py import MPI
        except ModuleNotFoundError:
            raise missing("Ranks", "mpi4py", "mpi") from None
        world = MPI.COMM_WORLD if communicator is None else communicator
        if not isinstance(world, MPI.Comm):
            raise TypeError(f"communicator: got {type(world).__name__}, wanted an mpi4py.MPI.Comm or None")
        self.world = world
        self.rank, self.size = world.Get_rank(), world.Get_size()
        here = world.Split_type(MPI.COMM_TYPE_SHARED)  # the processes of this machine
        if here.Get_size() > 1:
            config.set_num_threads(max(1, config.PROCESSORS // here.Get_size()))
        self._sums = Sums(world, here.Get_size() == self.size > 1)
        here.Free()
        self._apart = self.size == 1  # whether each process draws random numbers of its own
        self._shared: Exception | None = None  # the last error that all have raised
        if self.size > 1:
            self._end_with_errors()

    def _end_with_errors(self) -> None:
        """Let an error that nobody catches end all processes, which would wait for this one in vain."""
        before = sys.excepthook

        def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
            if isinstance(error, Exception):
                self.failed(error)
            before(kind, error, trace)

        sys.excepthook = hook

    # ---- the beginning

    def begin(self, trainer: Any, train: Any, limits: tuple) -> Any:
        """This process's part of the batches, once all processes are found to be at the same place.

        Raises
        ------
        DataError
            If a process has another model, optimiser, position or data, or other settings or limits.
        """
        error, share, mine = None, None, None
        try:
            if isinstance(train, DataLoader):
                train.seed = self.world.bcast(train.seed)
            share = share_of(train, self.rank, self.size, self.world.allgather, trainer.model)
            if isinstance(share, StreamShare):
                share.tensor = trainer._tensor()
            state = trainer.state
            layout = resume._layout(trainer), resume._classes(trainer)
            mine = {
                "model, optimiser or schedules": repr(layout),
                "settings": _settings(trainer),
                "limits": repr(limits),
                "position": (state.epoch, state.steps, state.step_in_epoch, state.waiting),
                "batches": repr(share.fingerprint()),
            }
        except Exception as e:
            error = e
        self._raise_together(error)
        everything = self.world.allgather(mine)
        for rank, other in enumerate(everything):
            for name, value in other.items():
                if value != everything[0][name]:
                    self._shared = DataError(
                        f"train: got other {name} in process {rank} than in process 0, wanted the same program with "
                        f"the same seed in all {self.size}"
                    )
                    raise self._shared
        weights = self.world.bcast(resume.weights(trainer.model, trainer.optimizer) if self.rank == 0 else None)
        if self.rank:
            resume.set_weights(trainer.model, trainer.optimizer, weights)
        self._draw_apart()
        return share

    def _draw_apart(self) -> None:
        """Let each process draw random numbers of its own from now on; those of process 0 go on."""
        if self._apart:
            return
        self._apart = True
        if self.rank == 0:
            return
        shared = randomness.shared_generators()
        seeds = [int(config.generator().integers(2**32)), self.rank]
        new = np.random.default_rng(seeds)
        generators: dict[str, randomness.Generator] = {
            "package": new,
            "random": random.Random(int(new.integers(2**63))),
            "np.random": np.random.RandomState(int(new.integers(2**32))),
        }
        randomness.restore(shared, randomness.states(generators))

    def part(self, data: Any, model: Any) -> Any:
        """The part of batches that this process evaluates.

        All of them, alike in each process, if they are in no loader, or fewer streams than processes.
        """
        if not isinstance(data, DataLoader | TruncatedBPTT):
            return data
        if isinstance(data, TruncatedBPTT) and data.inputs.shape[1] < self.size:
            return data
        return share_of(data, self.rank, self.size, self.world.allgather, model)

    # ---- updates

    def gradients(self, gradients: GradientsOf, optimizer: Optimizer, train: Any) -> GradientsOf:
        params = parameters(optimizer)

        def of_all(batch: Any) -> float:
            value, error = 0.0, None
            if batch is None:
                optimizer.zero_grad()
            else:
                try:
                    value = gradients(batch)
                except Exception as e:
                    error = e
            mine = [float(error is not None), value * train.weight, *[float(p.grad is not None) for p in params]]
            heads = self._rows_of_all(np.array(mine))
            if heads[:, 0].any():
                self._raise_together(error)
            self._add_up(params, [bool(column.any()) for column in heads[:, 2:].T], train.weight)
            return _in_order(heads[:, 1])

        return of_all

    def _rows_of_all(self, row: np.ndarray) -> np.ndarray:
        rows = np.empty((self.size, len(row)))
        self.world.Allgather(row, rows)
        return rows

    def _add_up(self, params: list[Tensor], present: list[bool], weight: float) -> None:
        """Give each parameter the weighted sum of its gradients of all processes, in the order of the ranks."""
        chosen = [p for p, there in zip(params, present) if there]
        for dtype in dict.fromkeys(p.dtype for p in chosen):
            group = [p for p in chosen if p.dtype == dtype]
            ends = np.cumsum([p.size for p in group])
            mine = self._sums.room(int(ends[-1]), dtype)
            for p, end in zip(group, ends):
                part = mine[end - p.size : end].reshape(p.shape)
                if p.grad is None:
                    part[...] = 0
                else:
                    np.multiply(p.grad.data, dtype.type(weight), out=part)
            total = self._sums.total(mine)
            for p, end in zip(group, ends):
                p.grad = Tensor(total[end - p.size : end].reshape(p.shape))

    # ---- evaluation

    def weighed(self, names: Iterable[str], numbers: dict[str, float], data: Any) -> dict[str, float]:
        if not isinstance(data, LoaderShare | StreamShare):
            return numbers
        names = [*names]
        rows = self._rows_of_all(np.array([numbers[name] * data.weight if data.weight else 0.0 for name in names]))
        return {name: _in_order(column) for name, column in zip(names, rows.T)}

    # ---- what all do alike

    def agree(self, value: Any) -> Any:
        return self.world.bcast(value)

    def first(self, value: Any) -> Any:
        if not self._rows_of_all(np.array([float(value is not None)])).any():
            return None
        return next(other for other in self.world.allgather(value) if other is not None)

    def signal(self, number: int | None) -> int | None:
        return int(self._rows_of_all(np.array([float(number or 0)])).max()) or None

    def by_first(self, function: Callable[[], None]) -> None:
        error = None
        if self.rank == 0:
            try:
                function()
            except Exception as e:
                error = e
        error = self.world.bcast(error)
        if error is not None:
            self._shared = error
            raise error

    def _raise_together(self, error: Exception | None) -> None:
        """Raise in all processes if one of them has an error: its own, or one that tells the other's."""
        told = None if error is None else (isinstance(error, FloatingPointError), f"{type(error).__name__}: {error}")
        for rank, other in enumerate(self.world.allgather(told)):
            if other is None:
                continue
            if error is None:
                is_number, text = other
                error = (NonFiniteError if is_number else RuntimeError)(f"process {rank}: {text}")
            self._shared = error
            raise error

    def failed(self, error: BaseException | None = None) -> None:
        """End the other processes, unless they have the same error: the one that is handled now, or `error`."""
        error = error or sys.exc_info()[1]
        if self.size == 1 or self._is_shared(error):
            return
        lines = "".join(traceback.format_exception(error)) if error is not None else ""
        print(f"process {self.rank} of {self.size} ends the training of all:\n{lines}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os.sync()
        self.world.Abort(1)

    def _is_shared(self, error: BaseException | None) -> bool:
        """Whether an error, or one that it tells in other words, is the one that all have raised."""
        while error is not None:
            if error is self._shared:
                return True
            error = error.__cause__ or error.__context__
        return False

    # ---- checkpoints

    def states(self, generators: dict[str, Any]) -> dict[str, Any]:
        """Those of process 0, and those of the others in the order of their ranks: all have to call it."""
        everything = self.world.allgather(generators)
        return {**everything[0], "others": everything[1:]}

    def own_states(self, saved: dict[str, Any]) -> dict[str, Any]:
        others = saved["others"] or []
        if self.rank and len(others) == self.size - 1:
            return {**others[self.rank - 1], "others": others}
        return saved

    def resumed(self, saved: dict[str, Any]) -> None:
        self._apart = len(saved["others"] or []) == self.size - 1


def _settings(trainer: Any) -> str:
    """What an update does besides the weights: options of the optimiser, clipping, schedules, metrics."""
    groups = [{k: v for k, v in group.items() if k != "params"} for group in trainer.optimizer.param_groups]
    schedules = [s and s.state_dict() for s in (getattr(trainer, name) for name in resume.SCHEDULES)]
    own = trainer.clip_norm, trainer.clip_value, trainer.nonfinite, trainer.compile, trainer.accumulate
    return repr((groups, schedules, own, [*trainer.metrics]))


def _in_order(values: np.ndarray) -> float:
    """A sum in the order of the ranks, whatever NumPy does."""
    return sum(values.tolist())
