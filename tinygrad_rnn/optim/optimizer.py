"""The base of optimisers: parameter groups, state, and one kernel call per flat buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any, ClassVar

import numpy as np

from ..checks import flag, shown
from ..core import Tensor
from .buckets import Bucket, State, lay_out
from .members import check_memory, label_of, listed, read_members
from .states import read_state


class Optimizer:
    """Base of the optimisers.

    A new one names its state arrays (`slots`), may name a `kernel` of the package that takes them, and defines
    `_update`; `_check` and `_initial_values` where it has options to refuse, or states that do not begin at zero.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Leaf tensors; or groups ``{"params": iterable of Tensor, "lr": ..., ...}`` with options of their own.
    defaults : dict
        The options of groups that do not set them.

    Attributes
    ----------
    param_groups : list of dict
        ``"params"`` and the options of every group. Options may be changed between steps, and so may lists: a parameter
        that is taken out is updated no more, one that is put into another group keeps its state.

    Raises
    ------
    ValueError
        If there are no parameters, one comes twice, two share memory, or an option is out of range.
    GraphError
        If a parameter was computed by the graph.
    DTypeError
        If a parameter is not floating-point.

    Notes
    -----
    At the first step, the values of all parameters of a group move side by side into one flat buffer (one
    per dtype; a large parameter has one to itself), of which each parameter's ``data`` is then a view. A
    NumPy array or a detached tensor that was taken from a parameter before that keeps the old values.
    """

    kernel: ClassVar[str | None] = None  # without one, `_update` does the work itself
    slots: ClassVar[tuple[str, ...]] = ()
    counts_steps: ClassVar[bool] = True
    needs_closure: ClassVar[bool] = False  # whether `step` computes the loss several times

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._buckets: list[tuple[dict[str, Any], list[Bucket]]] | None = None
        self._members: list[tuple[dict[str, Any], list[Tensor]]] = []  # of these groups, when these were laid out
        self._saved: dict[Tensor, tuple[int, State]] = {}  # states that are not in buckets
        self._run: Any = None
        entries = listed(params)
        if not entries:
            raise ValueError("params: got no parameters, wanted at least one")
        if isinstance(entries[0], Mapping):
            for i, group in enumerate(entries):
                if not isinstance(group, Mapping):
                    raise TypeError(f"params[{i}]: got {type(group).__name__} among groups, wanted a dict")
                self.add_param_group(group)
        else:
            self.add_param_group({"params": entries})

    # ---- what a new optimiser defines

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError if an option of `group` is out of range."""

    def _initial_values(self, group: dict[str, Any]) -> tuple[float | None, ...]:
        """For each of `slots` its initial value, None if `group` does not need it."""
        return (0.0,) * len(self.slots)

    def _update(self, group, step, values, grads, *state) -> None:
        """Overwrite the flat `values` and `state`, by ``self._run`` or in NumPy; `step` counts from 1."""
        raise NotImplementedError

    def _ascend(self, group, step, values, grads, *state) -> None:
        """Update against the gradients, of groups with ``maximize``."""
        self._update(group, step, values, -grads, *state)

    # ---- parameters

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters, with options of their own, to those that are optimised.

        Parameters
        ----------
        group : dict
            ``"params"`` (a Tensor or an iterable of them), and options that differ from the defaults.
        """
        if "params" not in group:
            raise ValueError(f"group: got the keys {sorted(group)}, wanted 'params' among them")
        unknown = sorted(set(group) - set(self.defaults) - {"params", "initial_lr"})
        if unknown:
            raise ValueError(f"group: got the option {unknown[0]!r}, wanted one of {', '.join(self.defaults)}")
        number = len(self.param_groups)
        known = {id(p) for other in self.param_groups for p in other["params"]}
        params = read_members(group["params"], number, known)
        new = {**self.defaults, **group, "params": params}
        if "maximize" in new:
            flag("maximize", new["maximize"])
        self._check(new)
        self._unflatten()
        self.param_groups.append(new)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        set_to_none = flag("set_to_none", set_to_none)
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = Tensor(np.zeros_like(p.data))

    # ---- updates

    def step(self, closure: Callable[[], Any] | None = None, error_if_nonfinite: bool = False) -> Any:
        """Update all parameters that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Called first, to compute the loss and its gradients anew.
        error_if_nonfinite : bool
            Raise if a gradient holds NaN or infinity.

        Returns
        -------
        What `closure` returns, or None.

        Raises
        ------
        ShapeError, DTypeError
            If a gradient does not fit its parameter, which is named; nothing is updated then.
        FloatingPointError
            If asked to by `error_if_nonfinite`; the parameter is named, and nothing is updated then.
        """
        if error_if_nonfinite is not False:
            error_if_nonfinite = flag("error_if_nonfinite", error_if_nonfinite)
        if closure is not None and not callable(closure):
            raise TypeError(f"closure: got {shown(closure)}, wanted a function")
        loss = None if closure is None else closure()
        if not self._gather():
            self._lay_out()
            self._gather()
        if error_if_nonfinite:
            for _, buckets in self._buckets or ():
                for bucket in buckets:
                    bucket.check_finite()
        for group, buckets in self._buckets or ():
            update = self._ascend if group.get("maximize") else self._update
            for bucket in buckets:
                bucket.update(update, group)
        return loss

    def _gather(self) -> bool:
        """Fetch all gradients; False if the buckets do not fit the parameters and options."""
        if self._buckets is None or not self._has_its_members():
            return False
        for group, buckets in self._buckets:
            initial = self._initial_values(group)
            for bucket in buckets:
                if bucket.initial != initial or not bucket.gather():
                    return False
        return True

    def _lay_out(self) -> None:
        """Move the parameters into flat buffers, with the states that they have."""
        if self.kernel is not None:
            from ..kernels.fused import optimizers  # imports numba

            self._run = getattr(optimizers, self.kernel)
        self._unflatten()
        self._check_groups()
        check_memory([p for group in self.param_groups for p in group["params"]])
        buckets = []
        for number, group in enumerate(self.param_groups):
            labels = [label_of(number, i) for i in range(len(group["params"]))]
            buckets.append((group, lay_out(group["params"], labels, self.slots, self._initial_values(group))))
        for _, of_group in buckets:
            for bucket in of_group:
                bucket.restore(self._saved)
        self._members = [(group, [*group["params"]]) for group in self.param_groups]
        here = {id(p) for _, members in self._members for p in members}
        self._saved = {p: state for p, state in self._saved.items() if id(p) not in here}
        self._buckets = buckets

    def _has_its_members(self) -> bool:
        """Whether groups and their parameters are those that were laid out: users may write to the lists."""
        if len(self.param_groups) != len(self._members):
            return False
        for group, (known, members) in zip(self.param_groups, self._members):
            now = group["params"]
            if group is not known or len(now) != len(members) or not all(map(is_, now, members)):
                return False
        return True

    def _check_groups(self) -> None:
        """Raise if there is something in the groups that :meth:`add_param_group` would not have let in."""
        known: set[int] = set()
        for number, group in enumerate(self.param_groups):
            missing = [name for name in (*self.defaults, "params") if name not in group]
            if missing:
                raise ValueError(
                    f"param_groups[{number}]: got no {missing[0]!r}, wanted all options; add_param_group gives a group "
                    "those that it does not have"
                )
            group["params"] = read_members(group["params"], number, known)

    # ---- for those that call the kernel themselves

    def flat_buffers(self) -> list[tuple[dict[str, Any], Bucket]]:
        """The buffers of all parameters, each with its group; parameters are moved there now, if need be."""
        return [(group, bucket) for group, buckets in self.layout for bucket in buckets]

    @property
    def layout(self) -> list[tuple[dict[str, Any], list[Bucket]]]:
        """The groups with their buffers, a new list whenever parameters are moved; they are now, if need be."""
        if self._buckets is None or not self.is_laid_out(self._buckets):
            self._lay_out()
        return self._buckets or []

    def is_laid_out(self, layout: list[tuple[dict[str, Any], list[Bucket]]]) -> bool:
        """Whether this is the layout still, and all parameters have their values in its buffers."""
        if layout is not self._buckets or not self._has_its_members():
            return False
        for group, buckets in layout:
            initial = self._initial_values(group)
            for bucket in buckets:
                if bucket.initial != initial or not bucket.is_home():
                    return False
        return True

    def kernel_numbers(self, group: dict[str, Any], step: int, arrays: Sequence[np.ndarray]) -> list[float] | None:
        """The kernel's arguments that are no arrays, in order, but for the number of the update, `step`.

        None if an update is not one call of the kernel on these arrays: values, gradients and states.
        """
        if group.get("maximize"):
            return None  # the kernel goes down
        calls: list[tuple] = []
        run, self._run = self._run, lambda *args: calls.append(args)
        try:
            self._update(group, step, *arrays)
        finally:
            self._run = run
        if len(calls) != 1 or any(a is not b for a, b in zip(calls[0], arrays)):
            return None
        return [float(a) for a in calls[0][len(arrays) :] if type(a) is not int]  # the one integer is the number

    def _states(self) -> dict[Tensor, tuple[int, State]]:
        out = dict(self._saved)
        for _, buckets in self._buckets or ():
            for bucket in buckets:
                out.update(bucket.saved())
        return out

    def _unflatten(self) -> None:
        """Give up the buckets, but not the states."""
        self._saved, self._buckets = self._states(), None

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state of every updated parameter (by its number) and the options of every group.

        Returns
        -------
        dict
            ``"state"``: for every parameter's number a dict of arrays and numbers; ``"param_groups"``: the
            options, with numbers in place of the parameters. Nothing but arrays, numbers, tuples, lists and
            dicts.
        """
        numbers: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers[p] = len(numbers)
            options = {k: v for k, v in group.items() if k != "params"}
            groups.append({**options, "params": [numbers[p] for p in group["params"]]})
        state: dict[int, dict[str, Any]] = {}
        for p, (step, arrays) in self._states().items():
            if p not in numbers:
                continue  # taken out of its group
            entry: dict[str, Any] = {"step": step} if self.counts_steps else {}
            entry.update((name, array.copy()) for name, array in arrays.items())
            if entry:
                state[numbers[p]] = entry
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up a state where :meth:`state_dict` was taken; torch's state dicts fit as well.

        Options of the groups, such as the learning rate, become those of the state.

        Raises
        ------
        CheckpointError
            If groups, options, numbers of parameters or shapes differ, or an option is out of range; nothing
            is changed then.
        """
        groups, states = read_state(self, state_dict)
        self._buckets, self._saved = None, states
        for group, options in zip(self.param_groups, groups):
            group.update(options)

    def __getstate__(self) -> dict[str, Any]:
        # buffers are views of one another, which neither a copy nor a pickle would keep
        return {**self.__dict__, "_saved": self._states(), "_buckets": None, "_members": [], "_run": None}

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])
