"""The recurrent policy: environments of others, and runs that go on."""

import json

import numpy as np
import pytest

from models import policy


@pytest.mark.slow
@pytest.mark.parametrize("task", ["tmaze", "CartPole-v1"])
def test_a_run_goes_on(task, tmp_path, capsys):
    """gymnasium's environments cannot be saved: new episodes begin, and all else goes on."""
    if task != "tmaze":
        pytest.importorskip("gymnasium")
    options = ["--task", task, "--hidden-size", "4", "--out", str(tmp_path)]
    policy.main([*options, "--epochs", "2"])
    seen = []
    draw = policy.draw

    def drawn(run, returns, best):
        seen.append((list(returns.steps), list(returns.means)))
        draw(run, returns, best)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "draw", drawn)
        policy.main([*options, "--epochs", "4", "--resume"])
    text = capsys.readouterr().out
    assert "going on after epoch 2, update 16" in text
    assert ("cannot be saved" in text) == (task != "tmaze")
    ((steps, means),) = seen
    rollout = policy.ENVIRONMENTS * policy.STEPS
    assert steps == [rollout * (n + 2) for n in range(4)]  # the first was an example of what batches look like
    assert np.isfinite(means).all()
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == steps[-1]
