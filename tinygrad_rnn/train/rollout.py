"""Rollouts: what a recurrent policy meets in parallel environments, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import config
from ..checks import number, shown, whole_number
from ..core import Tensor, tree
from ..distributions import Categorical
from ..errors import CheckpointError, DataError, ShapeError
from ..recurrent.rows import axes_that_grow, take_rows
from . import surroundings
from .modes import Modes


class Experience(NamedTuple):
    """T steps of B environments, time first.

    Attributes
    ----------
    observations : ndarray, shape (T, B, ...)
    resets : bool ndarray, shape (T, B)
        Steps at which an episode begins.
    actions : int ndarray, shape (T, B)
    log_probs, values, advantages, returns : ndarray, shape (T, B)
        What the policy thought when it acted, and what came of it: see :func:`advantages`.
    counts : float ndarray, shape (T, B)
        1 for the steps to learn from, 0 for those of the burn-in.
    state : nest of ndarray
        Of the policy before the first step.
    """

    observations: np.ndarray
    resets: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    advantages: np.ndarray
    returns: np.ndarray
    counts: np.ndarray
    state: Any


def advantages(
    rewards: np.ndarray, values: np.ndarray, ends: np.ndarray, last: np.ndarray, discount: float, decay: float
) -> np.ndarray:
    """Generalised advantage estimates of T steps.

    Parameters
    ----------
    rewards, values : ndarray, shape (T, B)
        What each step brought, and what the policy expected before it.
    ends : bool ndarray, shape (T, B)
        Steps with which an episode ends.
    last : ndarray, shape (B,)
        What is expected after the last step.
    discount, decay : float
        Gamma and lambda.

    Returns
    -------
    ndarray, shape (T, B)

    References
    ----------
    Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016: equation 16.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.train.rollout import advantages
    >>> rewards, values = np.array([[0.0], [1.0]]), np.array([[0.5], [0.5]])
    >>> advantages(rewards, values, np.array([[False], [True]]), np.array([9.0]), 1.0, 1.0).ravel().tolist()
    [0.5, 0.5]
    """
    result = np.empty_like(values)
    ahead, estimate = last, np.zeros_like(last)
    for t in range(len(rewards) - 1, -1, -1):
        goes_on = 1.0 - ends[t]
        error = rewards[t] + discount * goes_on * ahead - values[t]
        estimate = error + discount * decay * goes_on * estimate
        result[t] = estimate
        ahead = values[t]
    return result


class RecurrentRollout:
    """Batches of experience for a recurrent policy, which acts anew in each ``iter(rollout)``.

    The policy acts by a stepper, one call for all environments, in evaluation mode (without dropout), and keeps its
    state from one rollout to the next. A
    batch holds whole streams: the model runs over all T steps of some environments from the state that it had at the
    first one, with resets where episodes begin. So backpropagation is truncated at the start of a rollout only. With a
    burn-in the last steps of the rollout before come first: they bring the state up to date, as the policy has changed
    since, and count for nothing.

    Parameters
    ----------
    policy : module
        With a recurrent layer ``policy.core``, and modules ``policy.actor`` and ``policy.critic`` from its outputs to
        the logits of the actions (B, A) and to the value of the state (B, 1).
    environments : object
        B environments, as gymnasium's vector environments are: ``num_envs``, ``reset(seed=...)`` gives observations
        (B, ...) and a dict, ``step(actions)`` gives observations, rewards, terminations, truncations and a dict. An
        episode that ends is followed by the first observation of the next in the same step.
    steps : int
        T.
    passes : int
        How often each rollout is gone through.
    minibatches : int
        Into how many batches of streams a pass is cut.
    burn_in : int
        Steps of the rollout before.
    discount, decay : float
        Gamma and lambda of :func:`advantages`.
    seed : int, optional
        Of the environments.

    Attributes
    ----------
    finished : list of float
        Sums of rewards of the episodes that ended in the last rollout.
    total : int
        Steps of all environments so far.

    Raises
    ------
    DataError
        If the environments begin new episodes at another time than in the step that ends one, or bring rewards of NaN
        or infinity.
    ShapeError
        If what the environments bring, or what the policy makes of it, has not one row for each of them.
    """

    def __init__(
        self,
        policy: Any,
        environments: Any,
        steps: int,
        passes: int = 4,
        minibatches: int = 1,
        burn_in: int = 0,
        discount: float = 0.99,
        decay: float = 0.95,
        seed: int | None = None,
    ):
        for name in ("core", "actor", "critic"):
            if not hasattr(policy, name):
                raise TypeError(f"policy: got {type(policy).__name__} without {name}, wanted core, actor and critic")
        if not hasattr(policy.core, "stepper"):
            raise TypeError(f"policy.core: got {type(policy.core).__name__}, wanted a recurrent layer")
        surroundings.check(environments)
        self.policy, self.environments = policy, environments
        self.steps, self.passes = whole_number("steps", steps), whole_number("passes", passes)
        self.minibatches, self.burn_in = whole_number("minibatches", minibatches), whole_number("burn_in", burn_in, 0)
        if self.burn_in > self.steps:
            raise ValueError(f"burn_in: got {burn_in}, wanted at most steps = {steps}")
        within = "a number from 0 to 1"
        self.discount = number("discount", discount, within, lambda v: 0 <= v <= 1)
        self.decay = number("decay", decay, within, lambda v: 0 <= v <= 1)
        self.size = whole_number("environments.num_envs", environments.num_envs)
        if self.minibatches > self.size:
            raise ValueError(f"minibatches: got {minibatches}, wanted at most one for each of {self.size} environments")
        self._observations = self._observed(environments.reset(seed=seed)[0])
        surroundings.check_core(policy.core, self._observations.shape)
        self._begins = np.ones(self.size, bool)  # whether an episode begins with these
        self._sums = np.zeros(self.size)
        self._stepper: Any = None
        self._before: tuple | None = None  # the end of the rollout before: its observations, resets, actions and state
        self._waiting: tuple[Experience, list[np.ndarray]] | None = None  # a rollout, and the streams to come of it
        self._resumed = False
        self._axes: list[int | None] | None = None
        self.finished: list[float] = []
        self.total = 0

    def __len__(self) -> int:
        """Batches for each rollout."""
        return self.passes * self.minibatches

    def __iter__(self) -> Iterator[Experience]:
        if not self._resumed or self._waiting is None:
            experience, generator = self.collect(), config.generator()
            orders = [generator.permutation(self.size) for _ in range(self.passes)]
            self._waiting = experience, [rows for order in orders for rows in np.array_split(order, self.minibatches)]
        self._resumed = False
        experience, parts = self._waiting
        while parts:
            rows = parts.pop(0)
            yield self._streams(experience, rows)
        self._waiting = None

    def collect(self) -> Experience:
        """Act for T steps."""
        modes = Modes(self.policy)
        before = modes.evaluation()
        try:
            return self._collect()
        finally:
            modes.restore(before)

    def _collect(self) -> Experience:
        stepper = self._policy_stepper()
        seen: list[tuple] = []
        start = stepper.state
        tail_state = start
        self.finished = []
        for t in range(self.steps):
            if self.burn_in and t == self.steps - self.burn_in:
                tail_state = stepper.state
            logits, value = self._think(stepper(self._observations, self._begins))
            choice = Categorical(logits=Tensor(logits))
            action = choice.sample().data
            log_prob = choice.log_prob(action).data
            observed, reward, terminated, cut, more = surroundings.outcome(self.environments.step(action), self.size)
            ends = terminated | cut
            self._sums += reward
            self.finished += self._sums[ends].tolist()
            self._sums[ends] = 0.0
            # an episode that is cut would have gone on: what is expected after it counts as if it were paid
            owed = reward + self.discount * self._after_cut(stepper, cut & ~terminated, more, len(value))
            seen.append((self._observations, self._begins, action, log_prob, value, owed, ends))
            self._observations, self._begins = self._observed(observed), ends
        self.total += self.steps * self.size
        observations, resets, actions, log_probs, values, rewards, ends_ = (np.array(column) for column in zip(*seen))
        state = stepper.state
        _, last = self._think(stepper(self._observations, self._begins))
        stepper.reset(state)
        gained = advantages(rewards, values, ends_, last, self.discount, self.decay)
        counts = np.ones(values.shape)
        made = Experience(observations, resets, actions, log_probs, values, gained, gained + values, counts, start)
        before, self._before = self._before, None
        if self.burn_in:
            end = slice(self.steps - self.burn_in, None)
            self._before = tuple(column[end] for column in made[:8]), tail_state
            if before is not None:
                made = self._after(before, made)
        return made

    def _after(self, before: tuple, made: Experience) -> Experience:
        """A rollout that begins with the end of the one before, which does not count."""
        columns, state = before
        joined = [np.concatenate(pair) for pair in zip(columns, made[:8])]
        joined[7][: self.burn_in] = 0.0
        return Experience._make([*joined, state])

    def _policy_stepper(self) -> Any:
        if self._stepper is None:
            self._stepper = self._new_stepper(self.size)
        return self._stepper

    def _new_stepper(self, size: int) -> Any:
        """One for so many environments."""
        if self._observations.ndim == 2:
            return self.policy.core.stepper(size)
        return self.policy.core.stepper(size, np.zeros((size, *self._observations.shape[1:]), self._observations.dtype))

    def _think(self, outputs: Any) -> tuple[np.ndarray, np.ndarray]:
        with config.no_grad():
            logits, value = self.policy.actor(outputs).data, self.policy.critic(outputs).data
        if value.shape != (self.size, 1) or logits.ndim != 2:
            raise ShapeError(f"policy: got logits {logits.shape} and values {value.shape}, wanted (B, A) and (B, 1)")
        return logits.astype(np.float64), value[:, 0].astype(np.float64)

    def _after_cut(self, stepper: Any, cut: np.ndarray, more: Any, size: int) -> np.ndarray:
        """What the policy expects after the last observations of episodes that were cut; 0 for the others."""
        if not cut.any():
            return np.zeros(size)
        finals = more.get("final_obs") if isinstance(more, dict) else None
        if finals is None:
            raise DataError(f"environments: got truncations without info['final_obs']: {shown(more)}")
        observations = self._observations.copy()
        for i in np.flatnonzero(cut):
            observations[i] = finals[i]
        state = stepper.state
        _, value = self._think(stepper(observations, np.zeros(self.size, bool)))
        stepper.reset(state)
        return np.where(cut, value, 0.0)

    def _observed(self, observations: Any) -> np.ndarray:
        dtype = next((p.dtype for p in self.policy.core.parameters()), np.dtype(np.float32))
        return surroundings.observed(observations, self.size).astype(dtype)

    def _streams(self, experience: Experience, rows: np.ndarray) -> Experience:
        """The streams of some environments."""
        columns = [column[:, rows] for column in experience[:8]]
        if self._axes is None:
            self._axes = axes_that_grow(experience.state, self._new_stepper(self.size + 1).state)
        return Experience._make([*columns, take_rows(experience.state, rows, self._axes)])

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Where environments and policy stand, and what is still to be learned from, as a nest of arrays.

        Raises
        ------
        CheckpointError
            If the environments have no ``state_dict``.
        """
        if not hasattr(self.environments, "state_dict"):
            raise CheckpointError(f"environments: {type(self.environments).__name__} has no state_dict to save")
        before = None if self._before is None else [list(self._before[0]), tree.flatten(self._before[1])[0]]
        waiting = None
        if self._waiting is not None and self._waiting[1]:
            experience, parts = self._waiting
            waiting = [list(experience[:8]), tree.flatten(experience.state)[0], list(parts)]
        return {
            "environments": self.environments.state_dict(),
            "observations": self._observations,
            "begins": self._begins,
            "sums": self._sums.copy(),
            "finished": list(self.finished),
            "state": tree.flatten(self._policy_stepper().state)[0],
            "before": before,
            "waiting": waiting,
            "total": self.total,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        structure = tree.flatten(self._policy_stepper().state)[1]
        self.environments.load_state_dict(saved["environments"])
        self._observations, self._begins, self._sums = saved["observations"], saved["begins"], saved["sums"].copy()
        self.finished = list(saved["finished"])
        self._policy_stepper().reset(tree.unflatten(structure, list(saved["state"])))
        self._before = None
        if saved["before"] is not None:
            columns, state = saved["before"]
            self._before = tuple(columns), tree.unflatten(structure, list(state))
        self._waiting = None
        if saved["waiting"] is not None:
            columns, state, parts = saved["waiting"]
            self._waiting = Experience._make([*columns, tree.unflatten(structure, list(state))]), list(parts)
        self.total, self._resumed = saved["total"], True
