"""``check_cell``: property tests of a recurrent cell on small random cases."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..checks import shown, whole_number
from ..errors import CellCheckError, DTypeError
from .cell_case import Case, Subject, default_dtype
from .cell_checks import CHECKS, COMPILED, HINTS

SHRINK_SECONDS = 20.0


class CellReport(NamedTuple):
    """The result of :func:`check_cell`.

    Attributes
    ----------
    passed : tuple of str
        The checks that the cell has passed.
    skipped : dict
        Those that were left out, with the reasons.
    """

    passed: tuple[str, ...]
    skipped: dict[str, str]


def check_cell(
    cell: Any,
    checks: Iterable[str] | None = None,
    skip: Iterable[str] = (),
    example: Any = None,
    max_examples: int = 10,
    max_time: int = 4,
    max_batch: int = 3,
) -> CellReport:
    """Check a cell: gradients, dependence on input and state alone, compiled, streamed and masked runs.

    Sequences, states and parameters are drawn by Hypothesis. Where a check fails, the smallest case that fails is
    looked for, and told in words. The checks are tried in this order, as later ones build on earlier ones:

    ``runs``, ``repeatable``, ``gradients_of_inputs``, ``gradients_of_states``, ``gradients_of_parameters``,
    ``rows_independent``, ``rows_permute``, ``chunked_equals_whole``, ``eager_equals_compiled``,
    ``streamed_equals_whole``, ``padding_invariant``, ``masked_equals_left_out``, ``resets_equal_splitting``,
    ``float32_close_to_float64``, ``save_and_load``.

    Gradients, and the compiled loop, are checked in the mode (training or evaluation) that the cell is in, with
    random numbers held fixed; everything else in evaluation mode.

    Parameters
    ----------
    cell : Cell or callable
        An instance, which is copied and never changed; or a callable that makes one, without arguments or, such as
        a class, from ``(input_size, hidden_size)``, which are then drawn too. With a callable, ``save_and_load``
        notices constants that are drawn anew in each cell.
    checks : iterable of str, optional
        Names of the checks to run. Default: all (see ``tinygrad_rnn.testing.CELL_CHECKS``).
    skip : iterable of str
        Names of checks to leave out.
    example : array or nest of arrays, (B, ...), optional
        An input of one step; needed for a cell without ``input_size``. Of integers, those in the example are drawn.
    max_examples : int
        Random cases for each check.
    max_time, max_batch : int
        The largest T and B.

    Returns
    -------
    CellReport
        ``passed`` and ``skipped``: of a cell that does not compile, ``eager_equals_compiled`` is left out, unless
        `checks` names it.

    Raises
    ------
    CellCheckError
        For the first check that fails; its ``case`` has ``cell``, ``xs`` and ``state``.
    ValueError
        If a check is unknown, or an example is needed.
    TypeError
        If `cell` is neither a cell nor makes one.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> from tinygrad_rnn.testing import check_cell
    >>> report = check_cell(nn.GRUCell(2, 3), checks=["rows_independent", "chunked_equals_whole"])
    >>> report.passed
    ('rows_independent', 'chunked_equals_whole')
    """
    try:
        import hypothesis  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("check_cell needs hypothesis; run: pip install hypothesis", name=error.name) from None
    names, left_out = _chosen("checks", CHECKS if checks is None else checks), set(_chosen("skip", skip))
    for name, value in (("max_examples", max_examples), ("max_time", max_time), ("max_batch", max_batch)):
        whole_number(name, value)
    subject = Subject(cell, example)
    passed, skipped = [], {}
    for name in CHECKS:
        if name not in names:
            continue
        if name in left_out:
            skipped[name] = "as asked for"
        elif checks is None and name in COMPILED and subject.reason:
            skipped[name] = subject.reason
        else:
            _hunt(name, subject, max_examples, max_time, max_batch)
            passed.append(name)
    return CellReport(tuple(passed), skipped)


def _chosen(argument: str, names: Iterable[str]) -> list[str]:
    if not isinstance(names, Iterable):
        raise TypeError(f"{argument}: got {shown(names)}, wanted names of checks")
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if not isinstance(name, str) or name not in CHECKS:
            raise ValueError(f"{argument}: got {shown(name)}, wanted some of {', '.join(CHECKS)}")
    return names


class _OutOfTime(BaseException):
    """Ends shrinking after SHRINK_SECONDS; no Exception, so that Hypothesis lets it pass."""


def _hunt(name: str, subject: Subject, max_examples: int, max_time: int, max_batch: int) -> None:
    """Search for a case that fails the check, and raise the error of the smallest."""
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis import strategies as st
    from hypothesis.errors import HypothesisException

    found: list[tuple[tuple, CellCheckError]] = []
    began = 0.0

    @settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def attempt(data):
        nonlocal began
        if found and time.perf_counter() - began > SHRINK_SECONDS:
            raise _OutOfTime
        case = None
        try:
            with warnings.catch_warnings(), default_dtype(np.float64 if subject.bare else None):
                warnings.simplefilter("ignore", RuntimeWarning)  # of NaN and infinities, which checks report
                case = Case(subject, data.draw, max_time, max_batch)
                CHECKS[name](case)
        except HypothesisException:
            raise
        except Exception as error:
            began = began or time.perf_counter()
            found.append((case.cost if case else (), _failure(name, subject, case, error)))
            raise found[-1][1] from found[-1][1].__cause__

    try:
        attempt()
    except _OutOfTime:
        pass
    except Exception:  # the failure that Hypothesis ends with, or its complaint that a case fails only sometimes
        if not found:
            raise
    if found:
        failure = min(found, key=lambda pair: pair[0])[1]
        raise failure from failure.__cause__


def _failure(name: str, subject: Subject, case: Case | None, error: Exception) -> CellCheckError:
    """The error for a failing case: the promise, the difference, the case and the usual cause."""
    from ..compiler import raised_at

    cell = case.cell if case else subject.base(subject.smallest)
    promise = (CHECKS[name].__doc__ or "").splitlines()[0].rstrip(".")
    lines = [f"{type(cell).__name__}({cell.extra_repr()}) fails the check {name}: {promise[0].lower()}{promise[1:]}"]
    hint = HINTS[name]
    if isinstance(error, CellCheckError):
        lines.append(str(error))
    else:
        where = raised_at(error)  # "?" of what the package itself complains about
        lines.append(f"{type(error).__name__}: {error}" + ("" if where == "?" else f", at {where}"))
        hint = HINTS["float32_close_to_float64"] if isinstance(error, DTypeError) else ""
    if case:
        lines.append(f"smallest case that fails (its arrays are in the error's .case): {case}")
    if hint:
        lines.append(f"usual cause: {hint}")
    failure = CellCheckError("\n  ".join(lines))
    failure.check, failure.case = name, case
    failure.__cause__ = None if isinstance(error, CellCheckError) else error
    return failure
