"""The stages of a bound program in order, and the calls that run them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...kernels.loops.task_codes import integers_of
from ...kernels.stages.stage_codes import Stage, When
from ..runtime.threads import workers


class StageList:
    """Stages in order: machine code, and calls of Python in between.

    Attributes
    ----------
    host : list of str
        Names of the operations that run in Python.
    """

    def __init__(self, dtype: np.dtype):
        from ...kernels.stages import run  # imports numba

        self._run, self.dtype = run, dtype
        self._rows: list[tuple[int, int, int]] = []
        self._when = When.ALWAYS
        self._kept: list[Any] = []  # tables and what they point to
        self._calls: list[Callable[[], None] | tuple[int, int]] = []
        self.host: list[str] = []
        self._table: np.ndarray | None = None

    def add(self, stage: Stage, *keep: Any) -> None:
        """Add a stage of machine code; `keep` are the arrays that its addresses belong to."""
        kind: Any = type(stage)
        function = self._run.function_of(kind, self.dtype)
        table = np.array(integers_of(stage), np.int64)
        self._kept += [table, function, *keep]
        self._rows.append((function.address, table.ctypes.data, self._when))

    @contextlib.contextmanager
    def only(self, when: When) -> Iterator[None]:
        """Add stages that :meth:`run_steps` runs in some steps of a group only; :meth:`run` runs them all."""
        before, self._when = self._when, when
        try:
            yield
        finally:
            self._when = before

    def last_of_group(self) -> contextlib.AbstractContextManager[None]:
        """Add stages that :meth:`run_steps` runs in the last step of a group only."""
        return self.only(When.LAST)

    def call(self, name: str, function: Callable[[], None]) -> None:
        """Add a call of Python."""
        self._close()
        self.host.append(name)
        self._calls.append(function)

    def counts(self) -> tuple[int, int]:
        """How many stages there are, and how many operations in Python."""
        return len(self._rows), len(self.host)

    def _close(self) -> None:
        first = max((call[1] for call in self._calls if isinstance(call, tuple)), default=0)
        if first < len(self._rows):
            self._calls.append((first, len(self._rows)))

    def finish(self) -> None:
        """Make the tables; nothing is added after this."""
        self._close()
        self._table = np.array(self._rows, np.int64).reshape(-1, 3)

    def mark(self) -> int:
        """What :meth:`run` takes to begin, or to end, with the stages that are added next."""
        self._close()
        return len(self._calls)

    def run(self, begin: int = 0, end: int | None = None) -> None:
        """Run all stages, or those between two marks."""
        workers.ready()
        table, run = self._table, self._run.run_stages
        for call in self._calls[begin:end]:
            if isinstance(call, tuple):
                run(table, *call)
            else:
                call()

    def run_steps(self, count: int, status: np.ndarray, phase: int = 0, every: int = 1) -> int:
        """Run all stages `count` times in one native call; returns how often, if one of them sets `status`.

        Parameters
        ----------
        count : int
        status : int64 array of one number
        phase : int
            Number of the first of these steps in its group.
        every : int
            Steps of a group.

        Raises
        ------
        ValueError
            If some operations run in Python.
        """
        if self.host:
            raise ValueError(f"stages: {', '.join(self.host)} run in Python, wanted machine code only")
        workers.ready()
        return int(self._run.steps_entry()(self._table, count, status, phase, every))

    def between(self, before: StageList, after: StageList) -> StageList:
        """These stages with others before and after them."""
        whole = type(self)(self.dtype)
        for part in (before, self, after):
            whole._rows += part._rows
            whole._kept.append(part)
            whole.host += part.host
        whole.finish()
        return whole
