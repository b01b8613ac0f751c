"""Rollouts of recurrent policies: what is collected is what happened, and the model finds the same numbers again."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from models import _tasks
from models.policy import Policy, Surrogate
from tinygrad_rnn import nn, optim
from tinygrad_rnn.core import tree
from tinygrad_rnn.errors import CheckpointError, DataError, ShapeError
from tinygrad_rnn.train import RecurrentRollout, Trainer
from tinygrad_rnn.train.rollout import advantages

B, T = 5, 12


def policy(task, cell="lstm"):
    tr.seed(0)
    return Policy(task.features, task.actions, 6, cell)


def rollout(task, **options):
    return RecurrentRollout(policy(task), task, T, seed=1, **options)


def naive_advantages(rewards, values, ends, last, discount, decay):
    """The sum of equation 16, term by term."""
    steps, size = rewards.shape
    found = np.zeros((steps, size))
    for b in range(size):
        for t in range(steps):
            factor = 1.0
            for k in range(t, steps):
                ahead = 0.0 if ends[k, b] else (last[b] if k == steps - 1 else values[k + 1, b])
                found[t, b] += factor * (rewards[k, b] + discount * ahead - values[k, b])
                if ends[k, b]:
                    break
                factor *= discount * decay
    return found


def test_advantages_equal_the_sum_of_their_terms(rng):
    rewards, values = rng.normal(size=(2, 9, 4))
    ends, last = rng.random((9, 4)) < 0.3, rng.normal(size=4)
    for discount, decay in ((0.9, 0.8), (1.0, 1.0), (0.5, 0.0), (0.0, 0.3)):
        wanted = naive_advantages(rewards, values, ends, last, discount, decay)
        np.testing.assert_allclose(advantages(rewards, values, ends, last, discount, decay), wanted, atol=1e-12)


@pytest.mark.parametrize("name", [*_tasks.TASKS])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_model_finds_what_the_policy_thought(name, cell):
    task = _tasks.make(name, B, 0)
    made = RecurrentRollout(policy(task, cell), task, T, burn_in=3, seed=1)
    for _ in range(3):
        experience = made.collect()
        with tr.no_grad():
            logits, values, _ = made.policy(experience.observations, experience.state, experience.resets)
        scores = tr.log_softmax(logits, -1).numpy()
        chosen = np.take_along_axis(scores, experience.actions[..., None], -1)[..., 0]
        np.testing.assert_allclose(chosen, experience.log_probs, atol=1e-5)
        np.testing.assert_allclose(values.numpy(), experience.values, atol=1e-5)
    assert experience.counts.sum() == T * B
    assert experience.counts.shape == (T + 3, B)


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
def test_layers_with_several_layers_are_cores_too(layer):
    task = _tasks.TMaze(B)
    acting = policy(task)
    acting.core = layer(task.features, 6, num_layers=2)
    made = RecurrentRollout(acting, task, T, minibatches=2, burn_in=3, seed=1)
    for _ in range(2):  # the second begins with a burn-in
        batches = list(made)
    for e in batches:
        assert {a.shape for a in tree.flatten(e.state)[0]} == {(2, e.actions.shape[1], 6)}
        with tr.no_grad():
            logits, _, _ = acting(e.observations, e.state, e.resets)
        scores = np.take_along_axis(tr.log_softmax(logits, -1).numpy(), e.actions[..., None], -1)[..., 0]
        np.testing.assert_allclose(scores, e.log_probs, atol=1e-5)


def test_returns_are_those_of_the_episodes():
    task = _tasks.TMaze(B, length=2)
    made = rollout(task)
    made.collect()
    assert made.total == T * B
    assert made.finished
    assert all(-0.5 < total <= 1.0 for total in made.finished)


def test_streams_are_parts_of_the_rollout():
    task = _tasks.TMaze(B)
    made = rollout(task, passes=2, minibatches=2)
    batches = list(made)
    assert len(batches) == len(made) == 4
    for one, other in (batches[:2], batches[2:]):
        assert one.observations.shape[1] + other.observations.shape[1] == B
        assert [a.shape[-2] for a in tree.flatten(one.state)[0]] == [one.observations.shape[1]] * 2


def training(task):
    made = rollout(task, passes=2, minibatches=2, burn_in=2)
    surrogate = Surrogate(made.policy, RecurrentRollout(made.policy, _tasks.TMaze(B), T).collect())
    trainer = Trainer(
        surrogate, optim.Adam(made.policy.parameters()), lambda loss, counts: loss, compile="never", progress=False
    )
    return made, trainer


@pytest.mark.sampled(3)
@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_training_goes_on_to_the_bit(stop, tmp_path):
    from models.policy import Batches

    made, whole = training(_tasks.TMaze(B))
    whole.fit(Batches(made), epochs=3)
    made, first = training(_tasks.TMaze(B))
    first.fit(Batches(made), epochs=3, max_steps=stop)
    first.save(tmp_path / "a.safetensors")
    made, second = training(_tasks.TMaze(B))
    second.load(tmp_path / "a.safetensors")
    second.fit(Batches(made), epochs=3)
    assert whole.history["loss"] == second.history["loss"]
    for one, other in zip(whole.model.parameters(), second.model.parameters()):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_bad_input():
    task = _tasks.TMaze(B)
    with pytest.raises(TypeError, match="policy: got int without core"):
        RecurrentRollout(3, task, T)
    with pytest.raises(ValueError, match="minibatches: got 6"):
        rollout(task, minibatches=6)
    with pytest.raises(ValueError, match="burn_in: got 13"):
        rollout(task, burn_in=13)
    task.metadata = {"autoreset_mode": "next_step"}
    with pytest.raises(DataError, match="autoreset_mode next_step, wanted SAME_STEP"):
        rollout(task)
    wrong = _tasks.TMaze(B)
    wrong.reset = lambda seed=None: (np.zeros((B + 1, 3)), {})
    with pytest.raises(ShapeError, match=r"observations of shape \(6, 3\)"):
        RecurrentRollout(policy(wrong), wrong, T)


class Changed(_tasks.TMaze):
    """Steps whose results are changed."""

    def __init__(self, change):
        super().__init__(B)
        self.change = change

    def step(self, actions):
        return self.change(*super().step(actions))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o, r, t, c, m: (o, 0.5, t, c, m), r"rewards of shape \(\), wanted \(5,\)"),
        (lambda o, r, t, c, m: (o, r[:, None], t, c, m), r"rewards of shape \(5, 1\)"),
        (lambda o, r, t, c, m: (o, r * np.nan, t, c, m), "rewards with NaN"),
        (lambda o, r, t, c, m: (o, r, False, c, m), r"terminations of shape \(\)"),
        (lambda o, r, t, c, m: (o, r, t, c * 0.5, m), "truncations of float64"),
        (lambda o, r, t, c, m: (o, r, t, m), "got 4 values from step"),
        (lambda o, r, t, c, m: ({"a": o}, r, t, c, m), "observations in a dict"),
        (lambda o, r, t, c, m: (o * np.nan, r, t, c, m), "observations with NaN"),
        (lambda o, r, t, c, m: (o[:, 0], r, t, c, m), "one-hot"),
    ],
)
def test_environments_that_bring_something_else(change, message):
    task = Changed(change)
    with pytest.raises((DataError, ShapeError), match=message):
        rollout(task).collect()


@pytest.mark.parametrize(
    ("core", "error", "message"),
    [
        (nn.Linear(3, 6), TypeError, "policy.core: got Linear"),
        (nn.LSTM(4, 6), ShapeError, r"observations of shape \(5, 3\), wanted \(5, 4\)"),
        (nn.LSTM(3, 6, batch_first=True), ValueError, "batch_first=True"),
        (nn.LSTM(3, 3, bidirectional=True), ValueError, "bidirectional=True"),
    ],
)
def test_cores_that_cannot_act(core, error, message):
    task = _tasks.TMaze(B)
    acting = policy(task)
    acting.core = core
    with pytest.raises(error, match=message):
        RecurrentRollout(acting, task, T)


def test_layers_of_vectors_refuse_pictures():
    task = _tasks.TMaze(B)
    task.reset = lambda seed=None: (np.zeros((B, 4, 4)), {})
    acting = policy(task)
    acting.core = nn.LSTM(3, 6)
    with pytest.raises(ShapeError, match=r"observations of shape \(5, 4, 4\), wanted \(5, 3\): flatten them"):
        RecurrentRollout(acting, task, T)


def test_nothing_is_expected_after_an_end_that_is_cut_too():
    """As at the last step that a limit of time allows."""

    def collected(cut_too):
        task = Changed(lambda o, r, t, c, m: (o, r, t | c, c if cut_too else c & False, {"final_obs": o + 1}))
        task.length = 2
        return rollout(task).collect()

    one, other = collected(True), collected(False)
    assert one.resets[1:].any()
    np.testing.assert_array_equal(one.advantages, other.advantages)


def test_a_policy_acts_without_dropout_and_in_the_dtype_of_its_core():
    task = _tasks.TMaze(B)
    acting = policy(task)
    acting.core = nn.LSTM(3, 6, num_layers=2, dropout=0.5)
    acting.actor = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    for p in acting.parameters():
        p.data = p.data.astype(np.float64)
    e = RecurrentRollout(acting, task, T, seed=1).collect()
    assert acting.training
    assert e.observations.dtype == np.float64
    acting.eval()
    with tr.no_grad():
        logits, _, _ = acting(e.observations, e.state, e.resets)
    scores = np.take_along_axis(tr.log_softmax(logits, -1).numpy(), e.actions[..., None], -1)[..., 0]
    np.testing.assert_allclose(scores, e.log_probs, atol=1e-12)


def test_a_policy_that_is_not_finite_does_not_act():
    made = rollout(_tasks.TMaze(B))
    made.policy.actor.bias.data[0] = np.nan
    with pytest.raises(ValueError, match="logits: got NaN or infinity"):
        made.collect()


def test_environments_without_a_state_are_not_saved():
    task = _tasks.TMaze(B)
    made = rollout(task)

    class Bare:
        num_envs, reset, step = B, task.reset, task.step

    made.environments = Bare()
    with pytest.raises(CheckpointError, match="Bare has no state_dict"):
        made.state_dict()


@pytest.mark.slow
def test_environments_of_gymnasium():
    pytest.importorskip("gymnasium")
    task = _tasks.make("CartPole-v1", 3, 0)
    made = RecurrentRollout(policy(task), task, 40, seed=0)
    experience = made.collect()
    assert experience.observations.shape == (40, 3, 4)
    assert made.finished
    with pytest.raises(DataError, match="--task: "):
        _tasks.make("NoSuchTask-v0", 2, 0)
    with pytest.raises(DataError, match="wanted vectors and numbered actions"):
        _tasks.make("Pendulum-v1", 2, 0)
