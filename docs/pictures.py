"""The pictures of the pages: ``python docs/pictures.py`` draws gradient_flow.png, program.svg and tape.svg."""

from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, viz

HERE = Path(__file__).parent
STEPS, ROWS, INPUTS, UNITS = 100, 8, 4, 32


def flows() -> dict[str, viz.GradientFlow]:
    """Gradients of a loss at the end, through a network that forgets, one that explodes, and an LSTM."""
    tr.seed(0)
    frames = np.random.default_rng(0).standard_normal((STEPS, ROWS, INPUTS)).astype(np.float32)
    forgets, explodes = nn.RNN(INPUTS, UNITS, init="torch"), nn.RNN(INPUTS, UNITS, init="torch")
    explodes.load_state_dict({name: 4 * value for name, value in forgets.state_dict().items()})
    layers = {"RNN": forgets, "RNN, weights times four": explodes, "LSTM": nn.LSTM(INPUTS, UNITS)}
    return {
        name: viz.gradient_flow(layer, frames, lambda outputs: (outputs[-1] ** 2).sum())
        for name, layer in layers.items()
    }


def program() -> viz.Drawing:
    """One step of a minimal gated unit, as the compiler sees it."""
    return viz.program_dot(nn.Recurrent(nn.MGUCell(3, 4)))


def tape() -> viz.Drawing:
    """Three steps of a plain RNN on the tape, with a loss at the end."""
    layer = nn.RNN(2, 3, mode="eager")
    _, state = layer(np.ones((3, 1, 2), np.float32))
    return viz.to_dot((state**2).sum(), layer)


if __name__ == "__main__":
    viz.plot_gradient_flows(flows(), HERE / "gradient_flow.png")
    (HERE / "program.svg").write_text(program().svg(), encoding="utf-8")
    (HERE / "tape.svg").write_text(tape().svg(), encoding="utf-8")
