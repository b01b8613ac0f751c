"""matplotlib draws tensors, parameters and what was computed from them, as if they were arrays."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

pyplot = pytest.importorskip("matplotlib.pyplot")

TENSORS = {
    "plain": lambda a: tr.tensor(a),
    "leaf": lambda a: tr.tensor(a, requires_grad=True),
    "parameter": lambda a: nn.Parameter(a),
    "computed": lambda a: nn.Parameter(a) * 2.0,
    "column": lambda a: (nn.Parameter(np.stack([a, a], -1)) * 2.0)[..., 0],
}
DRAWINGS = {
    "plot": lambda ax, t: ax.plot(t),
    "plot of two": lambda ax, t: ax.plot(t, t * 2, "o--"),
    "plot of columns": lambda ax, t: ax.plot(t.reshape(-1, 1)),
    "scatter": lambda ax, t: ax.scatter(t, t, s=20 + 10 * abs(t), c=t),
    "bar": lambda ax, t: ax.bar(np.arange(len(t)), t),
    "barh": lambda ax, t: ax.barh(range(len(t)), t),
    "bar of two": lambda ax, t: ax.bar(t, t),
    "barh of two": lambda ax, t: ax.barh(t, abs(t)),
    "stackplot": lambda ax, t: ax.stackplot(t, t),
    "hist": lambda ax, t: ax.hist(t, bins=3),
    "errorbar": lambda ax, t: ax.errorbar(range(len(t)), t, yerr=abs(t)),
    "fill_between": lambda ax, t: ax.fill_between(range(len(t)), t, t + 1),
    "imshow": lambda ax, t: ax.imshow(t.reshape(2, 2)),
    "pcolormesh": lambda ax, t: ax.pcolormesh(t.reshape(2, 2)),
    "contourf": lambda ax, t: ax.contourf(t.reshape(2, 2)),
    "step": lambda ax, t: ax.step(range(len(t)), t),
    "stem": lambda ax, t: ax.stem(t),
    "boxplot": lambda ax, t: ax.boxplot(t),
    "semilogy": lambda ax, t: ax.semilogy(t * t + 1.0),
    "axhline": lambda ax, t: ax.axhline(t[0]),
    "limits": lambda ax, t: ax.set_ylim(t.min(), t.max()),
    "text": lambda ax, t: ax.text(t[0], t[1], f"{t[0]:.2f}"),
}


@pytest.mark.sampled(18)
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("drawing", DRAWINGS)
def test_drawing(drawing, kind):
    t = TENSORS[kind](np.array([0.5, -1.0, 2.0, 1.5]))
    figure, axes = pyplot.subplots()
    try:
        DRAWINGS[drawing](axes, t)
        figure.canvas.draw()
    finally:
        pyplot.close(figure)


def test_values_are_drawn():
    t = nn.Parameter(np.array([0.5, -1.0])) * 2.0
    figure, axes = pyplot.subplots()
    (line,) = axes.plot(t)
    pyplot.close(figure)
    np.testing.assert_array_equal(line.get_ydata(), [1.0, -2.0])
