"""What notebooks show of tensors, modules, trainings and reports: valid HTML with the numbers in it."""

from html.parser import HTMLParser

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.train import Trainer, TrainStep
from tinygrad_rnn.train.history import History


class Reader(HTMLParser):
    """Collects tags and texts; every tag is closed by its own."""

    VOID = frozenset({"rect", "path", "ellipse"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def shown(thing) -> Reader:
    return Reader(thing._repr_html_())


# ---- tensors


def test_a_matrix():
    w = tr.tensor(np.array([[1.5, np.nan], [-np.inf, 2.0]]), requires_grad=True)
    page = shown(w)
    assert page.texts == ["tensor (2, 2), float64, requires_grad", "1.5", "nan", "-inf", "2"]
    assert shown(w * 2).texts[0] == "tensor (2, 2), float64, from multiply"
    assert shown(nn.Parameter(np.ones(3, np.float32))).tags.count("td") == 3


def test_a_large_matrix_is_shown_by_its_ends():
    page = shown(tr.tensor(np.arange(200 * 300).reshape(200, 300)))
    assert page.tags.count("tr") == 9
    assert page.tags.count("td") == 8 * 9 + 1
    assert {"0", "299", "59999"} <= {*page.texts}
    assert "150" not in page.texts


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4), (1, 1), (11,), (40, 50, 60)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_any_shape_and_dtype(shape, dtype):
    page = shown(tr.tensor(np.ones(shape, dtype)))
    assert page.texts[0] == f"tensor {shape}, {dtype}"
    assert sum(map(len, page.texts)) < 3000


# ---- modules


def test_a_model():
    model = nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 5, num_layers=2), nn.Tanh())
    page = shown(model)
    assert page.tags.count("tr") == 1 + len([*model.named_modules()])
    assert page.texts[-1] == f"{sum(p.size for p in model.parameters()):,} parameters"
    assert "LSTM(4, 5, num_layers=2)" in page.texts
    assert "36" in page.texts


def test_a_cell_of_ones_own():
    class Cell(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 2
            self.gate = nn.Linear(2, 2)
            self.decay = nn.Parameter(np.ones(2, np.float32))

        def extra_repr(self):
            return "<2>"

        def step(self, x, h):
            return h, h * self.decay + self.gate(x)

    page = shown(Cell())
    assert page.texts[-1] == "8 parameters"
    assert "Cell(<2>)" in page.texts
    assert "gate" in page.texts


def test_shared_parameters_count_once():
    layer = nn.Linear(2, 2)
    assert shown(nn.Sequential(layer, layer)).texts[-1] == "6 parameters"


# ---- trainings and reports


def test_a_history():
    model = nn.Linear(2, 1)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, clip_norm=1.0)
    assert shown(trainer.history).texts == ["no epoch is finished yet"]
    x = np.ones((4, 2), np.float32)
    batches = [(x, x[:, :1])]
    history = trainer.fit(batches, batches, epochs=7)
    assert shown(trainer).texts[0] == "Linear, SGD: 7 epochs, 7 updates"
    assert trainer._repr_html_().endswith(history._repr_html_())
    page = shown(history)
    assert page.tags.count("tr") == 6
    assert {"svg", "table"} <= {*page.tags}
    assert {"loss", "val_loss", "grad_norm", "7", f"{history['val_loss'][-1]:.4g}"} <= {*page.texts}
    trainer.load_state_dict(trainer.state_dict())
    assert trainer.history == history
    assert shown(trainer.history).tags == page.tags


def test_names_are_no_markup():
    history = History({"loss": [2.0, 1.0], "<b>&loss": [2.0, 1.0]})
    page = shown(history)
    assert page.texts.count("<b>&loss") == 2  # in the legend and in the table
    assert "b" not in page.tags


@pytest.mark.parametrize(
    "history", [{"loss": [0.0]}, {"loss": [float("nan")]}, {"loss": [-1.0, 2.0], "skipped": [3]}], ids=str
)
def test_odd_histories(history):
    assert shown(History(history)).tags.count("tr") == 1 + len(history["loss"])


def test_reports():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss)
    x, y = np.ones((4, 2), np.float32), np.ones((4, 3), np.float32)
    report = step.explain(x, y)
    page = shown(report)
    assert page.tags[:2] == ["details", "summary"]
    assert "".join(page.texts).startswith(str(report).split("\n")[0])
    assert ("native" in page.texts[-2]) == report.native
    refused = tr.compile(lambda x: x * float(x.sum()))
    assert "runs on the tape" in shown(refused.explain(tr.tensor([1.0, 2.0], requires_grad=True))).texts[0]


def test_gradient_flow_has_curves():
    flow = viz.gradient_flow(nn.RNN(2, 3), np.ones((6, 1, 2), np.float32), lambda y: y[-1].sum())
    page = shown(flow)
    assert page.tags[0] == "svg"
    assert "RNNCell state" in page.texts
