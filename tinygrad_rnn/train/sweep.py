"""Sweeps and ensembles: one training for each setting, side by side in processes of joblib."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import config
from ..checks import missing, shown, whole_number


def grid(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """All combinations of values, as settings for :func:`sweep`; the last name changes fastest.

    Examples
    --------
    >>> from tinygrad_rnn.train import grid
    >>> grid(lr=[0.1, 0.01], seed=range(2))
    [{'lr': 0.1, 'seed': 0}, {'lr': 0.1, 'seed': 1}, {'lr': 0.01, 'seed': 0}, {'lr': 0.01, 'seed': 1}]
    """
    columns = {}
    for name, column in values.items():
        if isinstance(column, str) or not isinstance(column, Iterable):
            raise TypeError(f"{name}: got {shown(column)}, wanted a list of values")
        columns[name] = list(column)
    return [dict(zip(columns, row)) for row in itertools.product(*columns.values())]


def sweep(
    train: Callable[..., Any], settings: Iterable[Mapping[str, Any]], jobs: int | None = None, threads: int = 1
) -> list[Any]:
    """Call ``train(**setting)`` for each setting, in processes side by side; the results come in order.

    joblib runs them: on the cores of this machine, or wherever ``joblib.parallel_config(backend=...)`` says, such as
    on a cluster of Dask or Ray. An ensemble is a sweep over seeds whose predictions are averaged.

    Parameters
    ----------
    train : callable
        Trains one model and returns what is wanted of it, such as a loss or predictions: what pickle takes. It seeds
        itself (``tr.seed(seed)``), so that its result hangs on its setting alone.
    settings : iterable of mappings
        Keyword arguments, see :func:`grid`.
    jobs : int, optional
        How many at once; -1 for one per core. Default: what ``joblib.parallel_config`` says, else 1.
    threads : int
        Threads of each of them.

    Returns
    -------
    list

    Raises
    ------
    RuntimeError
        If a training fails: it names the setting, and has the training's error as its cause.
    ModuleNotFoundError
        If joblib is not there: ``pip install "tinygrad_rnn[sweep]"``.

    Examples
    --------
    >>> from tinygrad_rnn.train import grid, sweep
    >>> sweep(lambda lr, seed: round(lr * seed, 3), grid(lr=[0.1, 0.2], seed=[1, 2]))
    [0.1, 0.2, 0.2, 0.4]
    """
    try:
        import joblib
    except ModuleNotFoundError:
        raise missing("sweep", "joblib", "sweep") from None
    if not callable(train):
        raise TypeError(f"train: got {shown(train)}, wanted a function")
    if jobs is not None and (whole_number("jobs", jobs, -1) == 0):
        raise ValueError("jobs: got 0, wanted a number of processes, -1 for one per core, or None")
    threads = whole_number("threads", threads)
    listed = []
    for i, setting in enumerate(settings):
        if not isinstance(setting, Mapping):
            raise TypeError(f"settings[{i}]: got {shown(setting)}, wanted a dict of keyword arguments")
        listed.append(dict(setting))
    return list(joblib.Parallel(n_jobs=jobs)(joblib.delayed(_one)(train, setting, threads) for setting in listed))


def _one(train: Callable[..., Any], setting: dict[str, Any], threads: int) -> Any:
    before = config.get_num_threads()
    config.set_num_threads(threads)
    try:
        return train(**setting)
    except Exception as error:
        words = ", ".join(f"{name}={shown(value)}" for name, value in setting.items())
        raise RuntimeError(f"sweep: the training with {words} failed: {type(error).__name__}: {error}") from error
    finally:
        config.set_num_threads(before)
