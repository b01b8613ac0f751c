"""Models of ONNX as modules: parameters, gradients, programs, dtypes, lengths; and onnxruntime's outputs."""

import copy
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DataError, DTypeError, ShapeError

from .models import helper, imported, lstm, model, node, value

RNG = np.random.default_rng(0)


def floats(*shape, dtype=np.float32):
    return RNG.normal(size=shape).astype(dtype)


def head():
    """An embedding, a layer of one direction, a norm and a head."""
    made, weights = lstm("GRU", sizes=(3, 4), linear_before_reset=1, outputs=("y", "h"))
    (gru,) = made.graph.node
    rng, arrays = np.random.default_rng(1), {"half": np.float32(0.5)}
    for name, shape in {"table": (7, 3), "scale": 4, "V": (2, 4), "c": 2}.items():
        arrays[name] = rng.normal(size=shape).astype(np.float32)
    nodes = [
        node("Gather", ["table", "ids"], ["x"], name="look-up"),
        gru,
        node("LayerNormalization", ["y", "scale"], ["n"], axis=-1),
        node("Squeeze", ["n", "one"], ["s"]),
        node("Slice", ["s", "last", "end"], ["l"]),
        node("Squeeze", ["l", "zero"], ["v"]),
        node("Mul", ["v", "half"], ["m"]),
        node("Gemm", ["m", "V", "c"], ["out"], transB=1),
    ]
    numbers = {"one": [1], "zero": [0], "last": [-1], "end": [2**62]}
    given = {**weights, **arrays, **{name: np.array(v, np.int64) for name, v in numbers.items()}}
    return model(nodes, [value("ids", ["T", "B"], "i")], [value("out", ["B", 2])], given)


def test_parameters_gradients_and_training(tmp_path):
    module = imported(tmp_path, head())
    assert [*dict(module.named_parameters())] == [
        "table", "scale", "V", "c", "the_net.forwards.weight_ih", "the_net.forwards.weight_hh",
        "the_net.forwards.bias_ih", "the_net.forwards.bias_hh",
    ]  # fmt: skip
    ids, target = RNG.integers(0, 7, (5, 3)), floats(3, 2)
    optimizer = tr.optim.Adam(module.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        loss = nn.mse_loss(module(ids), target)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in module.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_copies(tmp_path):
    module = imported(tmp_path, head())
    other, ids = copy.deepcopy(module), RNG.integers(0, 7, (5, 3))
    np.testing.assert_array_equal(module(ids).numpy(), other(ids).numpy())
    nn.init.constant(other.the_net.forwards.bias_ih, 3.0)
    assert not np.array_equal(module(ids).numpy(), other(ids).numpy())


def test_state_dicts(tmp_path):
    module, other = imported(tmp_path, head()), imported(tmp_path, head())
    for parameter in other.parameters():
        nn.init.constant(parameter, 0.0)
    nn.save(module, tmp_path / "w.safetensors")
    nn.load(other, tmp_path / "w.safetensors")
    ids = RNG.integers(0, 7, (5, 3))
    np.testing.assert_array_equal(module(ids).numpy(), other(ids).numpy())


def test_programs(tmp_path):
    """The module runs as one program, in which the node is a loop."""
    module = imported(tmp_path, head(), mode="auto")
    ids = RNG.integers(0, 7, (5, 3))
    eager = imported(tmp_path, head())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = tr.compile(module, fallback="error")
        got = fast(ids)
    want = eager(ids)
    np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-6)
    (got**2).sum().backward()
    (want**2).sum().backward()
    for (name, a), (_, b) in zip(module.named_parameters(), eager.named_parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("shape", [(5, 2), (1, 1)])
def test_onnxruntime_agrees(op, directions, shape, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    made, _ = lstm(op, directions)
    x = floats(*shape, 3)
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for got, want in zip(imported(tmp_path, made)(x), session.run(None, {"x": x}), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got.numpy(), want, atol=1e-6)


def test_tables_count_from_the_end_too(tmp_path):
    table = floats(3, 2)
    made = model([node("Gather", ["w", "i"], ["z"])], [value("i", ["N"], "i")], [value("z", ["N", 2])], {"w": table})
    module = imported(tmp_path, made)
    np.testing.assert_array_equal(module(np.array([-1, 0])).numpy(), table[[-1, 0]])
    for wrong in (3, -4):
        with pytest.raises(DataError, match="node Gather: indices: got"):
            module(np.array([wrong]))


def test_float64(tmp_path):
    made, _ = lstm("LSTM", dtype=np.float64)
    y, h, c = imported(tmp_path, made)(floats(4, 2, 3, dtype=np.float64))
    assert (y.dtype, h.dtype, c.dtype) == (np.float64,) * 3
    module = imported(tmp_path, lstm("LSTM")[0]).to("float64")
    assert module(floats(4, 2, 3))[0].dtype == np.float64


def other_order(weights, blocks, order):
    """Gates in another order."""
    parts = np.split(weights, blocks)
    return np.concatenate([parts[i] for i in order])


def test_a_layer_of_ours_agrees(tmp_path):
    """With lengths, of which one is zero, and initial states."""
    made, weights = lstm("LSTM")
    (only,) = made.graph.node
    only.input.extend(["lengths", "h0", "c0"])
    made.graph.input.extend([value("lengths", ["B"], "i"), value("h0", [1, "B", 4]), value("c0", [1, "B", 4])])
    made.graph.input[1].type.tensor_type.elem_type = 6  # int32
    ours = nn.LSTM(3, 4, mode="eager")
    order = (0, 2, 3, 1)  # i o f c -> i f c o
    half = 16
    state = {"weight_ih_l0": weights["w"][0], "weight_hh_l0": weights["r"][0]}
    state |= {"bias_ih_l0": weights["b"][0, :half], "bias_hh_l0": weights["b"][0, half:]}
    ours.load_state_dict({name: other_order(array, 4, order) for name, array in state.items()})
    x, h, c, lengths = floats(5, 3, 3), floats(1, 3, 4), floats(1, 3, 4), np.array([5, 0, 2], np.int32)
    module = imported(tmp_path, made)
    y, hn, cn = module(x, lengths=lengths, h0=h, c0=c)
    want, (want_h, want_c) = ours(x, (h, c), lengths=lengths)
    np.testing.assert_allclose(y.numpy()[:, 0], want.numpy(), atol=1e-6)
    np.testing.assert_allclose(hn.numpy(), want_h.numpy(), atol=1e-6)
    np.testing.assert_allclose(cn.numpy(), want_c.numpy(), atol=1e-6)
    assert not y.numpy()[:, 0, 1].any()


def test_weights_that_are_computed(tmp_path):
    """They are what the graph makes of them, at each call; gradients flow through."""
    made, _ = lstm("GRU")
    (only,) = made.graph.node
    only.input[1] = "twice"
    del made.graph.node[:]
    made.graph.node.extend([node("Add", ["w", "w"], ["twice"]), only])
    module, x = imported(tmp_path, made), floats(4, 2, 3)
    plain, doubled = lstm("GRU")
    doubled["w"] *= 2
    del plain.graph.initializer[:]
    plain.graph.initializer.extend([helper.make_tensor(n, 1, a.shape, a.ravel()) for n, a in doubled.items()])
    other = imported(tmp_path, plain)
    y, _ = module(x)
    np.testing.assert_allclose(y.numpy(), other(x)[0].numpy(), atol=1e-6)
    assert {*dict(module.named_parameters())} == {"w", "r", "b"}
    (y**2).sum().backward()
    (other(x)[0] ** 2).sum().backward()
    want = other.the_net.forwards.weight_ih.grad.numpy()
    np.testing.assert_allclose(module.w.grad.numpy()[0], 2 * want, atol=1e-5)


def scan_model():
    """Leaky integration with weights of the graph around, and a sequence that is read backwards."""
    body = helper.make_graph(
        [
            node("MatMul", ["x_t", "W"], ["p"]),
            node("Add", ["p", "h"], ["q"]),
            node("Mul", ["q", "rate"], ["r"]),
            node("Tanh", ["r"], ["h_next"]),
            node("Add", ["h_next", "u_t"], ["y_t"]),
        ],
        "body",
        [value("h", ["B", 2]), value("x_t", ["B", 3]), value("u_t", ["B", 2])],
        [value("h_next", ["B", 2]), value("y_t", ["B", 2])],
        [helper.make_tensor("rate", 1, [2], [0.5, 0.9])],
    )
    scan = node(
        "Scan", ["h0", "x", "u"], ["last", "y"], num_scan_inputs=2, body=body,
        scan_input_directions=[0, 1], scan_output_axes=[1],
    )  # fmt: skip
    inputs = [value("h0", ["B", 2]), value("x", ["T", "B", 3]), value("u", ["T", "B", 2])]
    return model([scan], inputs, [value("last", ["B", 2]), value("y", ["B", "T", 2])], {"W": floats(3, 2)})


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_scan(mode, tmp_path):
    module = imported(tmp_path, scan_model(), mode)
    h, x, u = floats(2, 2), floats(4, 2, 3), floats(4, 2, 2)
    last, y = module(h, x, u)
    state, want = h, []
    for t in range(4):
        state = np.tanh((x[t] @ module.W.numpy() + state) * module.rate.numpy())
        want.append(state + u[3 - t])
    np.testing.assert_allclose(y.numpy(), np.stack(want, 1), atol=1e-6)
    np.testing.assert_allclose(last.numpy(), state, atol=1e-6)
    (y**2).sum().backward()
    assert module.W.grad is not None
    assert module.rate.grad is not None


def test_shapes_that_no_one_tells(tmp_path):
    made = model([node("Relu", ["x"], ["z"])], [value("x")], [value("z")])
    assert not made.graph.output[0].type.tensor_type.HasField("shape")
    module = imported(tmp_path, made)
    for x in (floats(2, 3), floats(4)):
        np.testing.assert_array_equal(module(x).numpy(), np.maximum(x, 0))


def test_calls_that_do_not_fit(tmp_path):
    module = imported(tmp_path, scan_model())
    h, x, u = floats(2, 2), floats(4, 2, 3), floats(4, 2, 2)
    with pytest.raises(TypeError, match="OnnxModule: got 2 inputs, wanted h0, x, u, each once"):
        module(h, x)
    with pytest.raises(TypeError, match="got 3 inputs and h0"):
        module(h, x, u, h0=h)
    with pytest.raises(ShapeError, match=r"u: got shape \(4, 3, 2\), wanted \(4, 2, 2\)"):
        module(h, x, floats(4, 3, 2))
    with pytest.raises(DTypeError, match="h0: got float64 values, wanted float32"):
        module(tr.tensor(h.astype(np.float64)), x, u)
    assert module(h.tolist(), x.astype(np.float64), u)[0].dtype == np.float32


def test_errors_name_the_node(tmp_path):
    made = model(
        [node("Add", ["x", "y"], ["z"], name="sum")], [value(n, [None, None]) for n in "xy"], [value("z", [None, None])]
    )
    module = imported(tmp_path, made)
    with pytest.raises(ShapeError, match=r"node sum \(Add\): "):
        module(floats(2, 3), floats(2, 4))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_models_of_pytorch(kind, dynamo, tmp_path):
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 6)
            self.rnn = getattr(torch.nn, kind)(6, 5, num_layers=2, bidirectional=True, batch_first=True)
            self.norm, self.head = torch.nn.LayerNorm(10), torch.nn.Linear(10, 3)

        def forward(self, ids):
            y, _ = self.rnn(self.embedding(ids))
            return torch.log_softmax(self.head(torch.relu(self.norm(y[:, -1]))), -1)

    torch.manual_seed(0)
    net, ids = Net().eval(), torch.randint(0, 11, (3, 7))
    options = {"dynamic_axes": {"ids": {0: "B", 1: "T"}}, "input_names": ["ids"]}
    torch.onnx.export(net, (ids,), tmp_path / "net.onnx", dynamo=dynamo, **({} if dynamo else options))
    module = tr.io.from_onnx(tmp_path / "net.onnx", mode="eager")
    for shape in ((3, 7), (1, 1)) if not dynamo else ((3, 7),):
        ids = torch.randint(0, 11, shape)
        with torch.no_grad():
            np.testing.assert_allclose(module(ids.numpy()).numpy(), net(ids).numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_packed_sequences_of_pytorch(tmp_path):
    """Which PyTorch writes as a sort by length, and its inverse."""
    torch = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    class Packed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(3, 5, batch_first=True)

        def forward(self, x, lengths):
            y, h = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
            return pad_packed_sequence(y, batch_first=True)[0], h

    torch.manual_seed(0)
    net, x, lengths = Packed().eval(), torch.randn(3, 6, 3), torch.tensor([2, 6, 4])
    torch.onnx.export(net, (x, lengths), tmp_path / "net.onnx", dynamo=False)
    module = tr.io.from_onnx(tmp_path / "net.onnx", mode="eager")
    with torch.no_grad():
        for got, want in zip(module(x.numpy(), lengths.numpy()), net(x, lengths), strict=True):
            np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-6)
