"""Programs with loops, whose gradient runs in the memory of the forward pass, whatever comes between the two."""

import gc
import threading

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.programs import halves

from .agreement import agree

X = np.random.default_rng(0).normal(size=(5, 3, 2))


@pytest.fixture(autouse=True)
def _double():
    tr.set_default_dtype("float64")
    yield
    tr.set_default_dtype("float32")


@pytest.fixture
def runs(monkeypatch):
    """Forward passes by native calls."""
    made, original = [], halves.Forward.__init__

    def init(self, *args):
        made.append(1)
        original(self, *args)

    monkeypatch.setattr(halves.Forward, "__init__", init)
    return made


class Model(nn.Module):
    """Noise, a layer and a head; the state is a result as well."""

    def __init__(self):
        self.drop, self.layer, self.head = nn.Dropout(0.3), nn.GRU(2, 4), nn.Linear(4, 2)

    def forward(self, x):
        y, h = self.layer(self.drop(x))
        return self.head(y), h


def made(**options):
    tr.seed(0)
    model = Model()
    return model, tr.compile(model, fallback="error"), tr.tensor(X, requires_grad=True)


def grads(model, x):
    found = [p.grad.data.copy() if p.grad is not None else None for p in (*model.parameters(), x)]
    for p in (*model.parameters(), x):
        p.grad = None
    return found


def close(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


LOSSES = {
    "outputs": lambda y, h: (y**2).sum(),
    "state": lambda y, h: (h**3).sum(),
    "both": lambda y, h: (y**2).sum() + (h**3).sum(),
}


def test_whichever_results_have_cotangents(runs):
    model, compiled, x = made()
    for k, name in enumerate(["outputs", "outputs", "state", "both", "outputs", "both", "state", "state"]):
        found = []
        for function in (model, compiled):
            tr.seed(k)
            LOSSES[name](*function(x)).backward()
            found.append(grads(model, x))
        close(*found[::-1])
        assert found[0][-2] is None or name != "state"  # the head
    assert len(runs) > 7


def test_several_calls_before_gradients(runs):
    model, compiled, x = made()
    for count in (1, 3, halves.MOST + 4, 2):
        found = []
        for function in (model, compiled):
            tr.seed(count)
            results = [function(x * (k + 1.0)) for k in range(count)]
            sum(LOSSES["both"](*r) for r in results[::-1]).backward()
            found.append(grads(model, x))
        close(*found[::-1])
    assert len(runs) == 3 + halves.MOST + 2


def test_gradients_once_more(runs):
    model, compiled, x = made()
    for k in range(3):
        found = []
        for function in (model, compiled):
            tr.seed(k)
            y, h = function(x)
            LOSSES["outputs"](y, h).backward(retain_graph=True)
            LOSSES["outputs"](y, h).backward(retain_graph=True)
            LOSSES["both"](y, h).backward()
            found.append(grads(model, x))
        close(*found[::-1])
    assert len(runs) > 2


def test_higher_derivatives_have_the_same_masks(runs):
    model, compiled, x = made()
    for k in range(3):
        found = []
        for function in (model, compiled):
            tr.seed(k)
            y, _ = function(x)
            (g,) = tr.grad((y**2).sum(), [x], create_graph=True)
            (g**2).sum().backward()
            found.append(grads(model, x))
            tr.seed(k)
            LOSSES["outputs"](*function(x)).backward()
            grads(model, x)
        close(*found[::-1])
    assert len(runs) > 2


def test_writes_in_between():
    model, compiled, x = made()
    for _ in range(3):
        y, h = compiled(x)
        (y.sum() + h.sum()).backward()
    grads(model, x)
    y, h = compiled(x)
    wanted = y.data.copy()
    with tr.no_grad():
        model.head.weight += 1.0
    with pytest.raises(RuntimeError, match=r"in place|written|changed|modified"):
        y.sum().backward()
    y, h = compiled(x)
    assert not np.allclose(y.data, wanted)
    y.data[...] = 7.0  # is the caller's own


@pytest.mark.usefixtures("restless_threads")
def test_threads_take_gradients_of_one_graph():
    _, compiled, x = made()
    for _ in range(2):
        LOSSES["outputs"](*compiled(x)).backward()
    loss, found = LOSSES["outputs"](*compiled(x)), []

    def work(scale):
        for _ in range(40):
            found.append(tr.grad(loss * scale, [x], retain_graph=True)[0].data / scale)

    threads = [threading.Thread(target=work, args=(k + 1.0,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = tr.grad(loss, [x])[0].data
    assert len(found) == 120
    for g in found:
        np.testing.assert_allclose(g, wanted, rtol=1e-12)


def test_what_is_dropped_is_used_again():
    _, compiled, x = made()
    for _ in range(30):
        compiled(x)
        y, h = compiled(x)
        (y.sum() + h.sum()).backward()
    del y, h
    gc.collect()
    (entries,) = compiled._known.programs.entries.values()
    (both,) = entries[0].made.operation._halves.values()
    assert both.pool.made <= 3
    assert len(both.pool._free) == both.pool.made


def test_no_gradients_are_none_where_nothing_flows():
    layer, other = nn.LSTM(2, 3), nn.Linear(2, 2)
    agree(lambda x: (layer(x)[0], other(x)), [*layer.parameters(), *other.parameters()], tr.tensor(X))


def test_the_report_says_native():
    layer = nn.LSTM(2, 3, num_layers=2, bidirectional=True)
    report = tr.compile(layer).explain(tr.tensor(X))
    assert report.native
    assert [part.title for part in report.parts] == ["forward", "backward"]
    forward, backward = report.parts
    assert all("gradient" not in g.text for g in forward.groups)
    assert sum("gradient of LSTMCell" in g.text for g in backward.groups) == 4
