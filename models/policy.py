"""Recurrent policy: an agent that has to remember what it no longer sees learns by proximal policy optimisation.

In the T-maze a signal at the start of a corridor says where to turn at its end. The agent sees where it stands, and
nothing of the signal any more; so its state has to carry it. Many environments run side by side: the policy acts with
one call of a stepper for all of them, and learns from whole streams, through episodes that begin and end inside of
them, with backpropagation through time back to where a rollout began. --task repeat (say what was four steps ago) and
--task cartpole (a pole without velocities) are other tasks of memory; any other name is gymnasium's.
"""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.core import tree
from tinygrad_rnn.train import Experience, RecurrentRollout, Trainer

from . import _command, _export, _pictures, _tasks

ENVIRONMENTS, STEPS = 32, 64
PASSES, MINIBATCHES = 4, 2
CLIP, ENTROPY, VALUE = 0.2, 0.02, 0.5
ENOUGH = 0.95  # share of the best return


# ---- 1. Tasks: see _tasks


# ---- 2. Model: a recurrent core, and two linear heads


class Policy(nn.Module):
    """Observations (T, B, features) to logits of actions (T, B, actions) and values (T, B)."""

    def __init__(self, features: int, actions: int, hidden_size: int, cell: str):
        self.core = _command.layer(cell, features, hidden_size, batch_first=False)
        self.actor = nn.Linear(hidden_size, actions)
        self.critic = nn.Linear(hidden_size, 1)
        nn.init.orthogonal(self.actor.weight, 0.01)  # all actions alike at first

    def forward(self, observations, state=None, resets=None):
        outputs, state = self.core(observations, state, resets=resets)
        return self.actor(outputs), self.critic(outputs)[..., 0], state


# ---- 3. Training


class Surrogate(nn.Module):
    """The loss of proximal policy optimisation (Schulman et al. 2017, equation 9) on experience, by its arrays."""

    def __init__(self, policy: Policy, example: Experience):
        self.policy = policy
        self._structure = tree.flatten(example.state)[1]

    def forward(self, observations, resets, actions, log_probs, advantages, returns, counts, *state):
        logits, values, _ = self.policy(observations, tree.unflatten(self._structure, list(state)), resets)
        scores = tr.log_softmax(logits, -1)
        ratio = tr.exp(-nn.cross_entropy(logits, actions, reduction="none") - log_probs)
        gain = tr.minimum(ratio * advantages, tr.clip(ratio, 1 - CLIP, 1 + CLIP) * advantages)
        entropy = -(tr.exp(scores) * scores).sum(axis=-1)
        loss = -gain - ENTROPY * entropy + VALUE * (values - returns) ** 2
        return (loss * counts).sum() / counts.sum()


class Returns:
    """Keeps the mean return of each rollout, and stops when the last ones are good enough."""

    def __init__(self, rollout: RecurrentRollout, goal: float | None):
        self.rollout, self.goal = rollout, goal
        self.means: list[float] = []
        self.steps: list[int] = []

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.rollout.finished:
            self.means.append(float(np.mean(self.rollout.finished)))
            self.steps.append(self.rollout.total)
        if self.goal is not None and len(self.means) >= 5 and np.mean(self.means[-5:]) >= self.goal:
            trainer.stop(f"returns of {self.goal:.2f}")


class Batches:
    """The batches of a rollout as the surrogate takes them; what returns were kept is saved with it."""

    def __init__(self, rollout: RecurrentRollout, returns: Returns | None = None):
        self.rollout, self.returns = rollout, returns

    def __len__(self) -> int:
        return len(self.rollout)

    def __iter__(self):
        for e in self.rollout:
            weights = e.counts / e.counts.sum()
            mean = (e.advantages * weights).sum()
            spread = np.sqrt((weights * (e.advantages - mean) ** 2).sum()) + 1e-8
            scaled = (e.advantages - mean) / spread
            arrays = e.observations, e.resets, e.actions, e.log_probs, scaled, e.returns, e.counts
            yield (*arrays, *tree.flatten(e.state)[0]), e.counts

    def state_dict(self) -> dict:
        """That of the rollout; of environments that cannot be saved, as gymnasium's, the number of their steps."""
        whole = hasattr(self.rollout.environments, "state_dict")
        saved = self.rollout.state_dict() if whole else {"total": self.rollout.total}
        kept = self.returns
        return saved if kept is None else {**saved, "means": np.array(kept.means), "steps": np.array(kept.steps)}

    def load_state_dict(self, saved: dict) -> None:
        if "environments" in saved:
            self.rollout.load_state_dict(saved)
        else:
            self.rollout.total = saved["total"]  # new episodes begin
        if self.returns is not None:
            self.returns.means, self.returns.steps = saved["means"].tolist(), saved["steps"].tolist()


def trainer(surrogate: Surrogate) -> Trainer:
    """Adam on the surrogate."""
    optimizer = optim.Adam(surrogate.policy.parameters(), lr=3e-3)
    return Trainer(surrogate, optimizer, lambda loss, counts: loss, clip_norm=0.5)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    environments = _tasks.make(args.task, ENVIRONMENTS, args.seed)
    settings = {"features": environments.features, "actions": environments.actions}
    settings |= {"hidden_size": args.hidden_size, "cell": args.cell}
    policy = Policy(**settings)
    print(policy)
    if not hasattr(environments, "state_dict"):
        print(f"{args.task}: its environments cannot be saved, so a run that goes on begins new episodes")
    rollout = RecurrentRollout(policy, environments, STEPS, PASSES, MINIBATCHES, seed=args.seed)
    best = environments.best
    returns = Returns(rollout, None if best is None else ENOUGH * best)
    learner = trainer(Surrogate(policy, rollout.collect()))
    learner.callbacks.append(returns)
    run.fit(learner, Batches(rollout, returns))
    reached = evaluate(policy, args.task, args.seed + 1)
    blind = evaluate(policy, args.task, args.seed + 1, forgets=True)
    print(f"{'mean return':<28}{reached:8.3f}" + ("" if best is None else f" of {best:g} at best"))
    print(f"{'without its memory':<28}{blind:8.3f}")
    print(f"{'steps of environments':<28}{rollout.total:8,}")
    draw(run, returns, best)
    run.save(policy, settings, task=args.task)
    return {"return": reached, "blind": blind, "steps": rollout.total}


# ---- 4. Result: the mean return of new episodes, also of an agent that forgets at each step


def evaluate(policy: Policy, task: str, seed: int, forgets: bool = False, episodes: int = 200) -> float:
    """The mean return of the likeliest actions."""
    environments = _tasks.make(task, ENVIRONMENTS, seed)
    observations, _ = environments.reset(seed=seed)
    stepper = policy.core.stepper(ENVIRONMENTS)
    resets, sums, found = np.ones(ENVIRONMENTS, bool), np.zeros(ENVIRONMENTS), []
    with tr.no_grad():
        while len(found) < episodes:
            outputs = stepper(np.asarray(observations, np.float32), resets | forgets)
            observations, rewards, ended, cut, _ = environments.step(policy.actor(outputs).data.argmax(-1))
            resets = np.asarray(ended | cut)
            sums += rewards
            found += sums[resets].tolist()
            sums[resets] = 0.0
    return float(np.mean(found))


def draw(run: _command.Run, returns: Returns, best: float | None) -> None:
    """The mean return of each rollout."""
    figure, (ax,) = _pictures.picture(widths=(7,))
    ax.plot(returns.steps, returns.means, color=_pictures.ORANGE)
    if best is not None:
        ax.axhline(best, color=_pictures.GREY, linewidth=1, label="best")
        ax.legend(frameon=False)
    ax.set(title=f"Mean return, {run.args.task}", xlabel="steps of environments")
    run.picture(figure, "returns.png")


# ---- 5. Use: watch an episode


def play(args) -> list[int]:
    """Show an episode, step by step."""
    policy, facts = _command.load(args, "policy", Policy)
    environments = _tasks.make(facts["task"], 1, args.seed)
    observations, _ = environments.reset(seed=args.seed)
    stepper, taken, total, over = policy.core.stepper(1), [], 0.0, False
    with tr.no_grad():
        while not over:
            action = policy.actor(stepper(np.asarray(observations, np.float32))).data.argmax(-1)
            print(f"{len(taken):4}  sees {np.round(observations[0], 2).tolist()}, does {action[0]}")
            observations, rewards, ended, cut, _ = environments.step(action)
            taken.append(int(action[0]))
            total += float(rewards[0])
            over = bool(ended[0] or cut[0])
    print(f"return {total:.3f}")
    return taken


def options(parser) -> None:
    text = f"one of {', '.join(_tasks.TASKS)}, or a name of gymnasium's; default: tmaze"
    parser.add_argument("--task", default="tmaze", metavar="NAME", help=text)
    _command.count(parser, "--hidden-size", 32, "units of the state")


def play_options(parser) -> None:
    _command.count(parser, "--seed", 0, "of the episode", least=0)


main = _command.Command(
    __name__,
    __doc__,
    train,
    epochs=200,
    cell="lstm",
    card=_command.Card(
        "many to many",
        "episodes of a T-maze",
        "mean return",
        "return",
        "without its memory",
        "blind",
        ".2f",
        "returns.png",
    ),
    options=options,
    export=_export.use("policy", Policy, _export.observations),
    play=_command.Use(play, play_options, "watch an episode"),
)
