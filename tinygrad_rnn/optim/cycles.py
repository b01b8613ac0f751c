"""Schedules that go up and down: one cycle, and cosines with restarts."""

from __future__ import annotations

import math

from ..checks import flag, not_negative, number, one_of, shown
from .checks import whole
from .optimizer import Optimizer
from .schedule import Schedule


class CosineAnnealingWarmRestarts(Schedule):
    r"""Half a cosine from the initial learning rate down to `eta_min`, again and again.

    :math:`\eta_t = \eta_{min} + \frac12 (\eta_0 - \eta_{min}) (1 + \cos(\pi t / T_i))`, with :math:`t` from 0 on after
    each restart.

    Parameters
    ----------
    optimizer : Optimizer
    T_0 : int
        The length of the first period.
    T_mult : int
        By which each period is longer than the one before.
    eta_min : float

    References
    ----------
    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import SGD, CosineAnnealingWarmRestarts
    >>> schedule = CosineAnnealingWarmRestarts(SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0), T_0=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> [round(rate, 3) for rate in rates]
    [1.0, 0.5, 1.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0):
        self.T_0, self.T_mult = whole("T_0", T_0), whole("T_mult", T_mult)
        self.eta_min = not_negative("eta_min", eta_min)
        super().__init__(optimizer)

    def _begin(self, lr, initial):
        return self._next(lr, initial)

    def _next(self, lr, initial):
        t, period = self.last_epoch, self.T_0
        if self.T_mult == 1:
            t %= period
        else:
            while t >= period:
                t, period = t - period, period * self.T_mult
        return self.eta_min + (initial - self.eta_min) * (1 + math.cos(math.pi * t / period)) / 2


class OneCycleLR(Schedule):
    """One rise of the learning rate to `max_lr`, and one fall far below; step it after each update.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or list of float
        One for all groups, or one for each.
    total_steps : int
        The length of the cycle. Or give `epochs` and `steps_per_epoch`.
    pct_start : float
        The share of the cycle in which the rate rises.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum : bool
        Whether momentum, or the first of Adam's betas, falls and rises the other way about, from `max_momentum` to
        `base_momentum`.
    base_momentum, max_momentum : float
    div_factor, final_div_factor : float
        The rate begins at ``max_lr / div_factor``, and ends at that divided by `final_div_factor`.
    three_phase : bool
        Whether to fall to the first rate in as many steps as it rose in, and then on.

    Raises
    ------
    ValueError
        At a step beyond the cycle.

    References
    ----------
    Smith, Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2019.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ):
        epochs = epochs if epochs is None else whole("epochs", epochs)
        steps_per_epoch = steps_per_epoch if steps_per_epoch is None else whole("steps_per_epoch", steps_per_epoch)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("total_steps: got None, wanted it, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        self.total_steps = whole("total_steps", total_steps, least=2)
        self.pct_start = number("pct_start", pct_start, "a number between 0 and 1", lambda v: 0 <= v <= 1)
        self.anneal_strategy = one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.cycle_momentum = flag("cycle_momentum", cycle_momentum)
        self.base_momentum = not_negative("base_momentum", base_momentum)
        self.max_momentum = not_negative("max_momentum", max_momentum)
        positive = lambda v: 0 < v < math.inf
        self.div_factor = number("div_factor", div_factor, "a positive number", positive)
        self.final_div_factor = number("final_div_factor", final_div_factor, "a positive number", positive)
        self.three_phase = flag("three_phase", three_phase)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: got {type(optimizer).__name__}, wanted an Optimizer")
        if self.cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                f"cycle_momentum: got True for {type(optimizer).__name__}, wanted an optimizer with momentum or betas"
            )
        groups = optimizer.param_groups
        rates = list(max_lr) if isinstance(max_lr, list | tuple) else [max_lr] * len(groups)
        if len(rates) != len(groups):
            raise ValueError(f"max_lr: got {shown(max_lr)}, wanted one rate for each of {len(groups)} groups")
        self.max_lr = [not_negative("max_lr", rate) for rate in rates]
        for group, rate in zip(groups, self.max_lr):
            group["lr"] = group["initial_lr"] = rate / self.div_factor
        super().__init__(optimizer)
        self._set_momentum()

    def _phases(self) -> list[tuple[float, float, float]]:
        """The step where each phase ends, and the rates at its ends in units of the largest."""
        rise = self.pct_start * self.total_steps - 1
        low, last = 1 / self.div_factor, 1 / self.div_factor / self.final_div_factor
        if self.three_phase:
            return [(rise, low, 1.0), (2 * rise, 1.0, low), (self.total_steps - 1, low, last)]
        return [(rise, low, 1.0), (self.total_steps - 1, 1.0, last)]

    def _part(self) -> tuple[float, float, float, int]:
        """How far the phase has gone, from 0 to 1, its rates, and its number."""
        start = 0.0
        phases = self._phases()
        for i, (end, a, b) in enumerate(phases):
            if self.last_epoch <= end or i == len(phases) - 1:
                return (self.last_epoch - start) / (end - start), a, b, i
            start = end
        raise AssertionError

    def _between(self, a: float, b: float, part: float) -> float:
        return b + (a - b) / 2 * (1 + math.cos(math.pi * part)) if self.anneal_strategy == "cos" else a + (b - a) * part

    def _begin(self, lr, initial):
        return self._next(lr, initial)

    def _next(self, lr, initial):
        part, a, b, _ = self._part()
        top = initial * self.div_factor
        return self._between(a * top, b * top, part)

    def step(self, metric: float | None = None) -> None:
        """Go one update further."""
        if self.last_epoch + 1 >= self.total_steps:
            raise ValueError(
                f"OneCycleLR: got step {self.last_epoch + 2}, wanted no more than total_steps={self.total_steps}"
            )
        super().step()
        self._set_momentum()

    def load_state_dict(self, state_dict):
        """Go on where :meth:`state_dict` was taken; see :meth:`Schedule.load_state_dict`."""
        super().load_state_dict(state_dict)
        self._set_momentum()

    def _set_momentum(self) -> None:
        if not self.cycle_momentum:
            return
        part, _, _, phase = self._part()
        high, low = self.max_momentum, self.base_momentum
        ends = [(high, low), (low, high), (high, high)][phase]
        value = self._between(*ends, part)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            else:
                group["momentum"] = value
