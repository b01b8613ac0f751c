"""Kills a training at random moments, also in the middle of writing checkpoints, and lets it go on.

``python -m tests.train.kill [N]`` kills N times (default 100), and compares each training that was finished with one
that nobody killed: weights, optimiser, history and generators, bit for bit.
"""

import multiprocessing
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tinygrad_rnn.train import SaveCheckpoint

from . import interrupted

EPOCHS = 6


def train(path, ready):
    """In the process to be killed: begin, or go on from the last checkpoint, with one after every update."""
    run = interrupted.trainer(SaveCheckpoint(path, seconds=0))
    if path.exists():
        run.load(path)
    ready.set()
    run.fit(interrupted.loader(), epochs=EPOCHS)


def final(path):
    """All that a finished training is, but for the time that it took."""
    run = interrupted.trainer()
    run.load(path)
    state = run.state_dict()
    assert run.epoch == EPOCHS
    state["training"]["history"].pop("seconds")
    state["training"].update(seconds=0.0, seconds_before=0.0)
    return repr(flat(state))


def flat(tree):
    """A nest with arrays as bytes."""
    if isinstance(tree, dict):
        return {key: flat(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [flat(value) for value in tree]
    return tree.tobytes() if hasattr(tree, "tobytes") else tree


def kill(times, seed=0):
    """Kill `times` times; returns how many trainings were finished in spite of it, and compared."""
    rng = random.Random(seed)
    # copies of one process that has imported and compiled everything: kills are for what follows
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([f"{__package__}.warm"])
    kills = finished = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole.safetensors")
        run = interrupted.trainer(SaveCheckpoint(whole))
        run.fit(interrupted.loader(), epochs=EPOCHS)
        wanted = final(whole)
        while kills < times or finished == 0:
            path = Path(folder, f"run{finished}.safetensors")
            ready = processes.Event()
            process = processes.Process(target=train, args=(path, ready))
            process.start()
            assert ready.wait(120)
            if kills < times:
                time.sleep(rng.uniform(0, 0.5))
                process.kill()
            process.join()
            if process.exitcode == 0:
                assert final(path) == wanted
                left = sorted(p.name for p in Path(folder).glob(f"{path.stem}*"))
                assert left == [f"{path.stem}.1.safetensors", path.name], left
                finished += 1
            else:
                assert process.exitcode == -signal.SIGKILL
                kills += 1
                # what is there can be read, whenever the kill came
                if path.exists():
                    interrupted.trainer().load(path)
    return finished


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{number} kills, {kill(number)} trainings finished and equal")
