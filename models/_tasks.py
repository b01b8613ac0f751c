"""Tasks of memory, many at once, with the interface of gymnasium's vector environments; and those of gymnasium."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_rnn.errors import DataError


class Task:
    """Environments that run in parallel; an episode that ends is followed by the next in the same step.

    Attributes
    ----------
    num_envs, features, actions : int
        How many environments, numbers in an observation, and actions.
    best : float
        The best mean return.
    """

    metadata: ClassVar = {"autoreset_mode": "same_step"}
    features: int
    actions: int
    best: float

    def __init__(self, num_envs: int, seed: int = 0):
        self.num_envs = num_envs
        self.rng = np.random.default_rng(seed)

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict]:
        """Begin new episodes everywhere."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self._begin(np.ones(self.num_envs, bool))
        return self._observe(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Observations, rewards, terminations, truncations and a dict."""
        rewards, terminated, cut = self._act(np.asarray(actions))
        more = {"final_obs": self._observe()} if cut.any() else {}
        ends = terminated | cut
        if ends.any():
            self._begin(ends)
        return self._observe(), rewards, terminated, cut, more

    def _begin(self, rows: np.ndarray) -> None:
        raise NotImplementedError

    def _observe(self) -> np.ndarray:
        raise NotImplementedError

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    def state_dict(self) -> dict[str, Any]:
        """Where all episodes stand."""
        return {"arrays": {k: v.copy() for k, v in self._arrays().items()}, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        vars(self).update({name: np.array(array) for name, array in saved["arrays"].items()})
        self.rng.bit_generator.state = saved["rng"]


class TMaze(Task):
    """A corridor at whose start a signal says where to turn at its end (Bakker 2001).

    Observations are the signal (1 or -1 at the first step, then 0), whether this is the corridor, and whether it is
    the junction. Actions: go on, turn left, turn right. A right turn at the junction brings 1, a wrong one 0; to bump
    into a wall costs 0.05.
    """

    features, actions, best = 3, 3, 1.0

    def __init__(self, num_envs: int, seed: int = 0, length: int = 10):
        super().__init__(num_envs, seed)
        self.length = length
        self.side = np.zeros(num_envs, np.int64)
        self.place = np.zeros(num_envs, np.int64)
        self.age = np.zeros(num_envs, np.int64)

    def _begin(self, rows: np.ndarray) -> None:
        self.side[rows] = self.rng.integers(2, size=int(rows.sum()))
        self.place[rows] = self.age[rows] = 0

    def _observe(self) -> np.ndarray:
        junction = self.place == self.length
        signal = np.where(self.age == 0, 2 * self.side - 1, 0)
        return np.stack([signal, ~junction, junction], axis=1).astype(np.float32)

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        junction = self.place == self.length
        turned = junction & (actions > 0)
        reward = np.where(turned, actions - 1 == self.side, np.where(junction != (actions > 0), -0.05, 0.0))
        self.place += ~junction & (actions == 0)
        self.age += 1
        return reward.astype(np.float64), turned, ~turned & (self.age >= 3 * self.length)


class RepeatPrevious(Task):
    """Say what was seen some steps before: one of four symbols at each of 48 steps (POPGym, Morad et al. 2023).

    Each step after the first few brings its share of 1 for the right symbol, and takes it for a wrong one.
    """

    features, actions, best = 4, 4, 1.0
    steps = 48

    def __init__(self, num_envs: int, seed: int = 0, back: int = 4):
        super().__init__(num_envs, seed)
        self.back = back
        self.symbols = np.zeros((num_envs, self.steps), np.int64)
        self.age = np.zeros(num_envs, np.int64)

    def _begin(self, rows: np.ndarray) -> None:
        self.symbols[rows] = self.rng.integers(4, size=(int(rows.sum()), self.steps))
        self.age[rows] = 0

    def _observe(self) -> np.ndarray:
        at = np.minimum(self.age, self.steps - 1)
        return np.eye(4, dtype=np.float32)[self.symbols[np.arange(self.num_envs), at]]

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked = self.age >= self.back
        wanted = self.symbols[np.arange(self.num_envs), np.maximum(self.age - self.back, 0)]
        share = 1.0 / (self.steps - self.back)
        reward = np.where(asked, np.where(actions == wanted, share, -share), 0.0)
        self.age += 1
        ends = self.age >= self.steps
        return reward, ends, np.zeros(self.num_envs, bool)


class BlindCartPole(Task):
    """A pole on a cart, of which positions are seen and velocities are not (Barto, Sutton, Anderson 1983).

    Observations are the place of the cart and the angle of the pole, in units at which an episode ends. Each step
    brings 1/200; an episode ends when the pole falls, the cart leaves its track, or after 200 steps.
    """

    features, actions, best = 2, 2, 1.0
    steps = 200

    def __init__(self, num_envs: int, seed: int = 0):
        super().__init__(num_envs, seed)
        self.state = np.zeros((num_envs, 4))
        self.age = np.zeros(num_envs, np.int64)

    def _begin(self, rows: np.ndarray) -> None:
        self.state[rows] = self.rng.uniform(-0.05, 0.05, (int(rows.sum()), 4))
        self.age[rows] = 0

    def _observe(self) -> np.ndarray:
        return (self.state[:, [0, 2]] / [2.4, 0.2095]).astype(np.float32)

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, v, angle, turn = self.state.T
        gravity, cart, pole, half, tau = 9.8, 1.0, 0.1, 0.5, 0.02  # m/s2, kg, kg, m, s
        force = np.where(actions == 1, 10.0, -10.0)
        cos, sin = np.cos(angle), np.sin(angle)
        push = (force + pole * half * turn**2 * sin) / (cart + pole)
        swing = (gravity * sin - cos * push) / (half * (4 / 3 - pole * cos**2 / (cart + pole)))
        speed = push - pole * half * swing * cos / (cart + pole)
        self.state = np.stack([x + tau * v, v + tau * speed, angle + tau * turn, turn + tau * swing], axis=1)
        self.age += 1
        fallen = (abs(self.state[:, 0]) > 2.4) | (abs(self.state[:, 2]) > 0.2095)
        return np.full(self.num_envs, 1 / self.steps), fallen, ~fallen & (self.age >= self.steps)


TASKS = {"tmaze": TMaze, "repeat": RepeatPrevious, "cartpole": BlindCartPole}


def make(name: str, num_envs: int, seed: int) -> Any:
    """Environments by the name of a task of ours, else by gymnasium's.

    Raises
    ------
    DataError
        If gymnasium does not know the name, or observations are no vectors, or actions are not numbered.
    ModuleNotFoundError
        If it is no name of ours, and gymnasium is not installed.
    """
    if name in TASKS:
        return TASKS[name](num_envs, seed)
    try:
        import gymnasium
    except ModuleNotFoundError:
        known = ", ".join(TASKS)
        raise ModuleNotFoundError(
            f"--task: {name} is none of {known}, and gymnasium is not here", name="gymnasium"
        ) from None
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    try:
        made = gymnasium.make_vec(name, num_envs, "sync", vector_kwargs={"autoreset_mode": mode})
    except gymnasium.error.Error as error:
        raise DataError(f"--task: {error}; ours are {', '.join(TASKS)}") from None
    observed, actions = made.single_observation_space, made.single_action_space
    if not isinstance(actions, gymnasium.spaces.Discrete) or len(observed.shape or ()) != 1:
        raise DataError(
            f"--task: {name} observes {observed} and acts by {actions}, wanted vectors and numbered actions"
        )
    made.features, made.actions, made.best = observed.shape[0], int(actions.n), None
    return made
