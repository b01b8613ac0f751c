"""L-BFGS: a quasi-Newton method for whole batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..checks import one_of, shown
from ..config import enable_grad
from ..errors import CheckpointError, DTypeError
from .checks import check_range, whole
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer
from .states import read_state

_ARRAYS = ("d", "prev_flat_grad")
_NUMBERS = ("t", "H_diag", "prev_loss")
_LISTS = ("old_dirs", "old_stps", "ro")


class LBFGS(Optimizer):
    """L-BFGS: each step evaluates the loss over all data several times; for small, smooth problems.

    The inverse Hessian is estimated from the last `history_size` steps and differences of gradients.

    Parameters
    ----------
    params : iterable of Tensor
        In one group, of one dtype.
    lr : float
    max_iter : int
        Iterations of one step.
    max_eval : int, optional
        Evaluations of one step; default ``max_iter * 5 // 4``.
    tolerance_grad, tolerance_change : float
        A step ends where no gradient, or no change of parameters or loss, is larger.
    history_size : int
    line_search_fn : {None, "strong_wolfe"}
        None goes `lr` along each direction.

    References
    ----------
    Nocedal, "Updating quasi-Newton matrices with limited storage", 1980. Liu, Nocedal, "On the limited memory BFGS
    method for large scale optimization", 1989.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import LBFGS
    >>> w = tr.tensor([-1.0, 2.0], requires_grad=True)
    >>> optimizer = LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2  # Rosenbrock's valley
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(3):
    ...     _ = optimizer.step(closure)
    >>> w.numpy().round(2).tolist()
    [1.0, 1.0]
    """

    counts_steps = False
    needs_closure = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        max_iter = whole("max_iter", max_iter)
        options = {"lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval}
        options |= {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
        super().__init__(params, {**options, "history_size": history_size, "line_search_fn": line_search_fn})
        self._memory: dict[str, Any] = {"func_evals": 0, "n_iter": 0}

    def _check(self, group):
        check_range(group, lr=math.inf, tolerance_grad=math.inf, tolerance_change=math.inf)
        for name in ("max_iter", "max_eval", "history_size"):
            whole(name, group[name])
        if group["line_search_fn"] is not None:
            one_of("line_search_fn", group["line_search_fn"], ("strong_wolfe",), "None or 'strong_wolfe'")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take the one group of parameters."""
        if self.param_groups:
            raise ValueError("params: got several groups, wanted one: L-BFGS goes along one direction")
        super().add_param_group(group)
        dtypes = sorted({str(p.dtype) for p in self.param_groups[0]["params"]})
        if len(dtypes) > 1:
            raise DTypeError(f"params: got {' and '.join(dtypes)}, wanted one dtype")

    # ---- one vector of all parameters

    def _gather_grads(self) -> np.ndarray:
        params = self.param_groups[0]["params"]
        return np.concatenate([(np.zeros_like(p.data) if p.grad is None else p.grad.data).reshape(-1) for p in params])

    def _gather_values(self) -> np.ndarray:
        return np.concatenate([p.data.reshape(-1) for p in self.param_groups[0]["params"]])

    def _scatter(self, values: np.ndarray) -> None:
        start = 0
        for p in self.param_groups[0]["params"]:
            p.data[...] = values[start : start + p.size].reshape(p.shape)
            p.touch()
            start += p.size

    # ---- updates

    def step(self, closure: Callable[[], Any] | None = None, error_if_nonfinite: bool = False) -> Any:
        """Do up to `max_iter` iterations.

        Parameters
        ----------
        closure : callable
            Forgets the gradients, computes the loss and its gradients anew, and returns the loss.
        error_if_nonfinite : bool
            Raise if the first gradient holds NaN or infinity; nothing is updated then.

        Returns
        -------
        What `closure` returned first.
        """
        if not callable(closure):
            raise TypeError(f"LBFGS: closure: got {shown(closure)}, wanted a function that computes loss and gradients")
        group, memory = self.param_groups[0], self._memory
        first = self._evaluate(closure)
        loss, grads = float(first), self._gather_grads()
        memory["func_evals"] += 1
        if error_if_nonfinite and not np.isfinite(grads).all():
            raise FloatingPointError("gradients: got NaN or infinity, wanted finite numbers")
        if np.abs(grads).max(initial=0.0) <= group["tolerance_grad"]:
            return first
        evaluations = 1
        for i in range(1, group["max_iter"] + 1):
            memory["n_iter"] += 1
            d = self._direction(grads)
            before, memory["prev_flat_grad"], memory["prev_loss"] = loss, grads.copy(), loss
            slope = float(grads @ d)
            lr = float(group["lr"])
            t = min(1.0, 1.0 / float(np.abs(grads).sum())) * lr if memory["n_iter"] == 1 else lr
            memory["d"], memory["t"] = d, t
            if slope > -group["tolerance_change"]:
                break
            if group["line_search_fn"] is not None:
                start = Point(0.0, loss, grads, slope)
                found, count = self._search(closure, start, t, d, group["max_eval"] - evaluations)
                loss, grads, memory["t"] = found.value, found.gradient, found.step
            else:
                self._scatter(self._gather_values() + grads.dtype.type(t) * d)
                count = 0
                if i < group["max_iter"]:
                    loss, grads, count = float(self._evaluate(closure)), self._gather_grads(), 1
            evaluations += count
            memory["func_evals"] += count
            if (
                evaluations >= group["max_eval"]
                or np.abs(grads).max() <= group["tolerance_grad"]
                or np.abs(d * memory["t"]).max() <= group["tolerance_change"]
                or abs(loss - before) < group["tolerance_change"]
            ):
                break
        return first

    def _evaluate(self, closure: Callable[[], Any]) -> Any:
        with enable_grad():
            return closure()

    def _search(self, closure: Callable, start: Point, t: float, d: np.ndarray, most: int) -> tuple[Point, int]:
        """The point that the line search finds, where the parameters then are."""
        origin = self._gather_values()

        def at(step: float) -> Point:
            self._scatter(origin + origin.dtype.type(step) * d)
            loss, grads = float(self._evaluate(closure)), self._gather_grads()
            return Point(step, loss, grads, float(grads @ d))

        found, count = strong_wolfe(at, start, t, float(np.abs(d).max()), most)
        self._scatter(origin + origin.dtype.type(found.step) * d)
        return found, count

    def _direction(self, grads: np.ndarray) -> np.ndarray:
        """Minus the estimated inverse Hessian times the gradient, by two loops over the history."""
        memory, size = self._memory, self.param_groups[0]["history_size"]
        if memory["n_iter"] == 1:
            memory.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -grads
        y, s = grads - memory["prev_flat_grad"], memory["d"] * grads.dtype.type(memory["t"])
        product = float(y @ s)
        if product > 1e-10:
            for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / product)):
                memory[name] = [*memory[name], value][-size:]
            memory["H_diag"] = product / float(y @ y)
        number, shares = grads.dtype.type, []
        history = list(zip(memory["old_dirs"], memory["old_stps"], memory["ro"]))
        q = -grads
        for y, s, rho in reversed(history):
            shares.append(float(s @ q) * rho)
            q -= number(shares[-1]) * y
        q *= number(memory["H_diag"])
        for (y, s, rho), share in zip(history, reversed(shares)):
            q += number(share - float(y @ q) * rho) * s
        return q

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """A copy of the history and of the options, in arrays and numbers."""
        state = super().state_dict()
        memory = {k: np.array(v) if k in (*_ARRAYS, *_LISTS) else v for k, v in self._memory.items()}
        return {**state, "state": {0: memory}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; torch's state dicts fit as well."""
        given = state_dict.get("state", {}) if isinstance(state_dict, Mapping) else {}
        plain = {**state_dict, "state": {}} if isinstance(state_dict, Mapping) else state_dict
        groups, _ = read_state(self, plain)
        entry = given.get(0, given.get("0", {})) if isinstance(given, Mapping) else {}
        memory = self._read(entry)
        self._memory = memory
        for group, options in zip(self.param_groups, groups):
            group.update(options)

    def _read(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        size = sum(p.size for p in self.param_groups[0]["params"])
        dtype = self.param_groups[0]["params"][0].dtype
        try:
            memory: dict[str, Any] = {name: int(entry.get(name, 0)) for name in ("func_evals", "n_iter")}
            for name in _ARRAYS:
                if entry.get(name) is not None:
                    memory[name] = np.asarray(entry[name]).astype(dtype).reshape(size)
            for name in _NUMBERS:
                if entry.get(name) is not None:
                    memory[name] = float(entry[name])
            for name in _LISTS:
                if entry.get(name) is not None:
                    rows = [np.asarray(row).astype(dtype) for row in entry[name]]
                    memory[name] = [float(r) for r in rows] if name == "ro" else [r.reshape(size) for r in rows]
        except (TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"state_dict: does not fit LBFGS of {size} numbers: {error}") from error
        missing = [name for name in (*_ARRAYS, *_NUMBERS, *_LISTS) if name not in memory]
        if memory["n_iter"] and missing:
            raise CheckpointError(f"state_dict: got a state without {missing[0]!r}, wanted that of LBFGS")
        return memory
