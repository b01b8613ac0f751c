"""A recurrent policy that acts and learns: the T-maze of ``models policy``, beside the same loop in PyTorch.

A turn is a rollout of 64 steps of 32 environments and the four passes of proximal policy optimisation over it: an
LSTM(32) with two heads acts in all environments at once, then learns from whole streams with resets inside. On
PyTorch's side an LSTMCell runs step by step, with states put to zero where episodes begin, as an LSTM layer of PyTorch
cannot; environments, sizes, losses and Adam are the same. ``sb3`` is RecurrentPPO of sb3-contrib, where that is
installed, with the same sizes: it splits streams at episodes, and pads them. The note is steps of environments per
second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from models import _tasks
from models.policy import CLIP, ENTROPY, VALUE, Batches, Policy, Surrogate, trainer
from tinygrad_rnn.train import RecurrentRollout
from tinygrad_rnn.train.rollout import advantages

from . import harness

ENVIRONMENTS, STEPS, HIDDEN, PASSES, MINIBATCHES = 32, 64, 32, 4, 2
QUICK = 8  # steps


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    args = harness.parse(parser, argv)
    steps = QUICK if args.quick else STEPS
    with harness.threads(args.threads):
        report = harness.Report("a recurrent policy acts and learns, T-maze, float32", args, width=28)
        sides: dict[str, Callable[[], Any]] = {"ours": our_turn(steps)}
        torch = harness.torch()
        if torch:
            sides["torch"] = torch_turn(torch, steps)
            found = sb3_turn(steps)
            if found:
                sides["sb3"] = found
        timings = harness.measure(sides, args.repeats)
        rates = {name: round(steps * ENVIRONMENTS / timing.median) for name, timing in timings.items()}
        note = ", ".join(f"{name} {rate:,}/s" for name, rate in rates.items())
        report.add(f"tmaze {steps}x{ENVIRONMENTS}", timings, note, rates=rates)
        report.finish()
    return 0


def our_turn(steps: int) -> Callable[[], None]:
    """A rollout and what is learned from it."""
    tr.seed(0)
    task = _tasks.TMaze(ENVIRONMENTS)
    policy = Policy(task.features, task.actions, HIDDEN, "lstm")
    rollout = RecurrentRollout(policy, task, steps, PASSES, MINIBATCHES, seed=0)
    learner, batches = trainer(Surrogate(policy, rollout.collect())), Batches(rollout)
    learner.progress, learner.compile = False, "always"

    def turn() -> None:
        learner.fit(batches, epochs=learner.epoch + 1)

    return turn


def torch_turn(torch: Any, steps: int) -> Callable[[], None]:
    """The same in PyTorch."""
    torch.manual_seed(0)
    task = _tasks.TMaze(ENVIRONMENTS)
    cell = torch.nn.LSTMCell(task.features, HIDDEN)
    actor, critic = torch.nn.Linear(HIDDEN, task.actions), torch.nn.Linear(HIDDEN, 1)
    weights = [*cell.parameters(), *actor.parameters(), *critic.parameters()]
    adam = torch.optim.Adam(weights, lr=3e-3)
    generator = np.random.default_rng(0)
    observed = torch.from_numpy(task.reset(seed=0)[0])
    begins = torch.ones(ENVIRONMENTS, 1)
    state = (torch.zeros(ENVIRONMENTS, HIDDEN), torch.zeros(ENVIRONMENTS, HIDDEN))

    def step(x: Any, state: tuple, begins: Any) -> tuple:
        return cell(x, tuple(s * (1 - begins) for s in state))

    def turn() -> None:
        nonlocal observed, begins, state
        start, seen = state, []
        with torch.no_grad():
            for _ in range(steps):
                state = step(observed, state, begins)
                policy = torch.distributions.Categorical(logits=actor(state[0]))
                action = policy.sample()
                value = critic(state[0])[:, 0]
                after, reward, ended, cut, _ = task.step(action.numpy())
                seen.append((observed, begins, action, policy.log_prob(action), value, reward, ended | cut))
                observed = torch.from_numpy(after)
                begins = torch.from_numpy((ended | cut).astype(np.float32)[:, None])
            last = critic(step(observed, state, begins)[0])[:, 0].numpy()
        xs, resets, actions, before, values = (torch.stack([row[i] for row in seen]) for i in range(5))
        rewards, ends = (np.array([row[i] for row in seen]) for i in (5, 6))
        gained = advantages(rewards, values.numpy().astype(np.float64), ends, last, 0.99, 0.95)
        gains = torch.from_numpy(gained.astype(np.float32))
        returns = gains + values
        for _ in range(PASSES):
            order = torch.from_numpy(generator.permutation(ENVIRONMENTS))
            for rows in order.tensor_split(MINIBATCHES):
                now, outputs = tuple(s[rows] for s in start), []
                for t in range(steps):
                    now = step(xs[t, rows], now, resets[t, rows])
                    outputs.append(now[0])
                hidden = torch.stack(outputs)
                policy = torch.distributions.Categorical(logits=actor(hidden))
                ratio = (policy.log_prob(actions[:, rows]) - before[:, rows]).exp()
                gain = gains[:, rows]
                gain = (gain - gain.mean()) / (gain.std(correction=0) + 1e-8)
                clipped = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain)
                error = (critic(hidden)[..., 0] - returns[:, rows]) ** 2
                loss = (-clipped - ENTROPY * policy.entropy() + VALUE * error).mean()
                adam.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, 0.5)
                adam.step()

    return turn


def sb3_turn(steps: int) -> Callable[[], None] | None:
    """The same by RecurrentPPO, or None where sb3-contrib is not installed."""
    try:
        import gymnasium
        from sb3_contrib import RecurrentPPO
        from stable_baselines3.common.vec_env import VecEnv
    except ImportError:
        return None

    class Tasks(VecEnv):
        """Our task as sb3's vector environment."""

        def __init__(self) -> None:
            self.task = _tasks.TMaze(ENVIRONMENTS)
            box = gymnasium.spaces.Box(-1, 1, (self.task.features,))
            super().__init__(ENVIRONMENTS, box, gymnasium.spaces.Discrete(self.task.actions))

        def reset(self) -> np.ndarray:
            return self.task.reset(seed=0)[0]

        def step_async(self, actions: np.ndarray) -> None:
            self.actions = actions

        def step_wait(self) -> tuple:
            observed, rewards, ended, cut, more = self.task.step(self.actions)
            told: list[dict] = [{} for _ in range(ENVIRONMENTS)]
            for i in np.flatnonzero(cut):
                told[i] = {"TimeLimit.truncated": True, "terminal_observation": more["final_obs"][i]}
            return observed, rewards.astype(np.float32), ended | cut, told

        def close(self) -> None: ...

        def get_attr(self, attr_name: str, indices: Any = None) -> list:
            return [getattr(self, attr_name, None)] * ENVIRONMENTS

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **more: Any) -> list:
            return []

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list:
            return [False] * ENVIRONMENTS

    sizes = {"lstm_hidden_size": HIDDEN, "net_arch": [], "shared_lstm": True, "enable_critic_lstm": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = RecurrentPPO(
            *("MlpLstmPolicy", Tasks()),
            n_steps=steps,
            batch_size=steps * ENVIRONMENTS // MINIBATCHES,
            n_epochs=PASSES,
            learning_rate=3e-3,
            ent_coef=ENTROPY,
            policy_kwargs=sizes,
            device="cpu",
            seed=0,
        )

    def turn() -> None:
        model.learn(steps * ENVIRONMENTS, reset_num_timesteps=False)

    return turn
