"""Sweeps: one training for each setting, in processes side by side."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.train import Trainer, grid, sweep

pytest.importorskip("joblib")


def fit(lr, seed):
    """A small training; its last loss."""
    tr.seed(seed)
    model = nn.Linear(2, 1)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=lr), nn.mse_loss, progress=False)
    return trainer.fit([(np.ones((3, 2)), np.ones((3, 1)))], epochs=2)["loss"][-1]


def broken(lr, seed):
    return 1 // seed


def test_results_come_in_order_and_hang_on_their_settings_alone():
    settings = grid(lr=[0.1, 0.01], seed=[3, 4])
    wanted = [fit(**setting) for setting in settings]
    assert len({*wanted}) == 4
    assert sweep(fit, settings) == wanted


@pytest.mark.slow
def test_in_several_processes():
    settings = grid(lr=[0.1, 0.01], seed=[3, 4])
    assert sweep(fit, settings, jobs=2) == [fit(**setting) for setting in settings]
    with pytest.raises(RuntimeError, match="the training with lr=1, seed=0 failed: ZeroDivisionError"):
        sweep(broken, grid(lr=[1], seed=[1, 0]), jobs=2)


def test_errors_name_the_setting():
    with pytest.raises(RuntimeError, match="the training with lr=1, seed=0 failed: ZeroDivisionError"):
        sweep(broken, grid(lr=[1], seed=[1, 0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, []), "train: got 3"),
        ((fit, [3]), r"settings\[0\]: got 3"),
        ((fit, [], 0), "jobs: got 0"),
        ((fit, [], 1, 0), "threads: got 0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sweep(*arguments)


def test_a_grid_wants_lists():
    with pytest.raises(TypeError, match=r"lr: got 0\.1, wanted a list of values"):
        grid(lr=0.1)
