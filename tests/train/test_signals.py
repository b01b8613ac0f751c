"""Ctrl-C and SIGTERM: the update is finished, the run saved, and what goes on is what would have been."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.train import SaveCheckpoint

from . import interrupted
from .test_checkpoint import without_time

ROOT = Path(__file__).parents[2]


class At:
    """Does something at one update."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, trainer):
        if trainer.steps == self.step:
            self.action()


class Loss:
    """A loss function that does something in the middle of an update."""

    def __init__(self, loss, call, action):
        self.loss, self.call, self.action, self.calls = loss, call, action, 0

    def __call__(self, y, t):
        self.calls += 1
        if self.calls == self.call:
            self.action()
        return self.loss(y, t)


def handlers():
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


def held_out():
    return list(interrupted.loader())


def goes_on(path, steps, validated=False):
    """What is resumed from `path` ends as a run that nothing interrupted."""
    whole, options = interrupted.trainer(), {"epochs": 3, "validation": held_out() if validated else None}
    history = whole.fit(interrupted.loader(), **options)
    resumed = interrupted.trainer(seed=9)
    resumed.load(path)
    assert resumed.steps == steps
    assert without_time(resumed.fit(interrupted.loader(), **options)) == without_time(history)
    for p, q in zip(whole.model.parameters(), resumed.model.parameters()):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["in an update", "between updates", "in validation", "at the end of an epoch"])
def test_a_signal_lets_the_update_be_finished_and_saved(tmp_path, number, where, capsys):
    path = tmp_path / "run.safetensors"
    trainer = interrupted.trainer(SaveCheckpoint(path, seconds=1e6))
    send = lambda: os.kill(os.getpid(), number)
    options = {}
    if where == "in an update":
        trainer.loss_fn, steps = Loss(trainer.loss_fn, 11, send), 11
    elif where == "between updates":
        steps = 11
        trainer.callbacks.append(At(11, send))
    elif where == "in validation":
        trainer.loss_fn, steps = Loss(trainer.loss_fn, 11, send), 8
        options = {"validation": held_out()}
    else:
        steps = 16
        trainer.callbacks.append(lambda t: send() if t.epoch == 2 else None)
    before = handlers()
    error = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(error) as stop:
        trainer.fit(interrupted.loader(), epochs=3, **options)
    text = str(stop.value) if number == signal.SIGINT else capsys.readouterr().err
    assert f"training was interrupted after update {steps} " in text
    if number == signal.SIGTERM:
        assert stop.value.code == 143
    assert handlers() == before
    if not options:
        goes_on(path, steps)
    else:
        other = interrupted.trainer()
        other.load(path)
        assert (other.steps, other.epoch, other.step_in_epoch) == (8, 0, 8)
        goes_on(path, steps, validated=True)


def test_a_second_signal_ends_at_once(tmp_path):
    path = tmp_path / "run.safetensors"
    trainer = interrupted.trainer(SaveCheckpoint(path, seconds=1e6))

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    trainer.loss_fn = Loss(trainer.loss_fn, 11, twice)
    before = handlers()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(interrupted.loader(), epochs=3)
    assert trainer.steps == 10
    assert not path.exists()  # in the middle of an update there is nothing to save
    assert handlers() == before


def test_a_keyboard_interrupt_of_a_callback_is_saved_too(tmp_path):
    path = tmp_path / "run.safetensors"

    def stop():
        raise KeyboardInterrupt

    trainer = interrupted.trainer(SaveCheckpoint(path, seconds=1e6), At(13, stop))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(interrupted.loader(), epochs=3)
    goes_on(path, 13)


def test_interrupt_main_is_a_signal(tmp_path):
    path = tmp_path / "run.safetensors"
    trainer = interrupted.trainer(SaveCheckpoint(path, seconds=1e6), At(5, _thread.interrupt_main))
    with pytest.raises(KeyboardInterrupt, match="after update 5 "):
        trainer.fit(interrupted.loader(), epochs=3)
    goes_on(path, 5)


def test_handlers_of_ones_own_are_left_alone():
    seen = []
    mine = lambda number, frame: seen.append(number)
    before = signal.signal(signal.SIGTERM, mine), signal.signal(signal.SIGINT, mine)
    try:
        trainer = interrupted.trainer(At(5, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        trainer.fit(interrupted.loader(), epochs=1)
        assert trainer.steps == 8
        assert seen == [signal.SIGTERM]
        assert handlers() == (mine, mine)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_in_a_thread_no_signal_is_touched():
    seen = []
    trainer = interrupted.trainer(At(2, lambda: seen.append(handlers())))
    before = handlers()
    thread = threading.Thread(target=trainer.fit, args=(interrupted.loader(),))
    thread.start()
    thread.join()
    assert trainer.steps == 8
    assert seen == [before]


def test_a_training_within_a_training_ends_with_it(tmp_path):
    inner_path, outer_path = tmp_path / "inner", tmp_path / "outer"
    inner = interrupted.trainer(
        SaveCheckpoint(inner_path, seconds=1e6), At(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    )
    outer = interrupted.trainer(
        SaveCheckpoint(outer_path, seconds=1e6), At(4, lambda: inner.fit(interrupted.loader(), epochs=1))
    )
    before = handlers()
    with pytest.raises(KeyboardInterrupt, match="after update 3 "):
        outer.fit(interrupted.loader(), epochs=2)
    assert handlers() == before
    for path, steps in ((inner_path, 3), (outer_path, 4)):
        again = interrupted.trainer()
        again.load(path)
        assert again.steps == steps


def test_a_checkpoint_that_fails_at_the_end_does_not_hide_the_signal(tmp_path):
    path = tmp_path / "folder" / "run"

    def break_and_stop():
        path.parent.rmdir()
        path.parent.write_text("a file")
        os.kill(os.getpid(), signal.SIGINT)

    trainer = interrupted.trainer(SaveCheckpoint(path, seconds=1e6), At(3, break_and_stop))
    with pytest.raises(KeyboardInterrupt), pytest.warns(RuntimeWarning, match="no checkpoint after update 3"):
        trainer.fit(interrupted.loader(), epochs=2)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_from_outside(tmp_path, number):
    path = tmp_path / "run.safetensors"
    command = [sys.executable, "-m", "tests.train.interrupted", str(path), "3"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) == 10:
            process.send_signal(number)
            break
    _, errors = process.communicate(timeout=60)
    assert "training was interrupted after update 1" in errors
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    resumed = interrupted.trainer()
    resumed.load(path)
    assert resumed.steps >= 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        goes_on(path, resumed.steps)
