import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn.data import MinMaxScaler, StandardScaler
from tinygrad_rnn.errors import CheckpointError, DataError, DTypeError, ShapeError

shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6)
tables = shapes.flatmap(lambda s: hnp.arrays(np.float64, s, elements=st.floats(-1e6, 1e6)))
scalers = st.sampled_from([MinMaxScaler, StandardScaler, lambda: MinMaxScaler((-1, 3))])


@given(tables, scalers)
def test_inverse_transform_undoes_transform(x, make):
    scaler = make()
    scaled = scaler.fit_transform(x)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaler.inverse_transform(scaled), x, rtol=1e-12, atol=1e-9)


@given(tables, st.floats(-5, 5), st.floats(0.1, 5))
def test_min_max_reaches_both_ends(x, low, width):
    high = low + width
    columns = MinMaxScaler((low, high)).fit_transform(x).reshape(-1, x.shape[-1] if x.ndim > 1 else 1)
    constant = np.ptp(x.reshape(columns.shape), axis=0) == 0
    np.testing.assert_allclose(columns.min(axis=0), low, atol=1e-12)
    np.testing.assert_allclose(columns.max(axis=0), np.where(constant, low, high), atol=1e-12)


@given(hnp.arrays(np.int64, (7, 3), elements=st.integers(-1000, 1000)))
def test_standard_scaler_gives_mean_0_and_deviation_1(x):
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), np.ptp(x, axis=0) > 0, atol=1e-12)


@given(tables.filter(lambda x: x.ndim > 1), scalers, st.data())
def test_columns_pick_the_fitted_statistics(x, make, data):
    scaler = make()
    scaled = scaler.fit_transform(x)
    picked = data.draw(st.lists(st.integers(0, x.shape[-1] - 1), min_size=1, max_size=4))
    whole = scaler.inverse_transform(scaled)
    np.testing.assert_array_equal(scaler.inverse_transform(scaled[..., picked], picked), whole[..., picked])
    np.testing.assert_array_equal(scaler.transform(x[..., picked], picked), scaled[..., picked])
    column = picked[0]
    np.testing.assert_array_equal(scaler.inverse_transform(scaled[..., column], column), whole[..., column])


@pytest.mark.parametrize("make", [MinMaxScaler, StandardScaler])
@pytest.mark.parametrize("value", [0.1, -7.0, 1e300, 5e-324])
def test_a_constant_column_stays_put(make, value):
    x = np.full((3, 1), value)
    scaler = make()
    np.testing.assert_array_equal(scaler.fit_transform(x), np.zeros((3, 1)))
    np.testing.assert_array_equal(scaler.inverse_transform(np.zeros((3, 1))), x)
    np.testing.assert_array_equal(scaler.transform(x + 1), x + 1 - x)  # shifted only


def test_a_variance_that_underflows():
    x = np.array([0.0, 1e-200])
    assert np.isfinite(StandardScaler().fit_transform(x)).all()


def test_a_scaler_of_a_series_fits_every_shape():
    scaler = MinMaxScaler().fit([10.0, 20.0, 30.0])
    np.testing.assert_array_equal(scaler.transform(np.full((2, 5, 3), 20.0)), np.full((2, 5, 3), 0.5))
    one_column = MinMaxScaler().fit([[10.0], [30.0]])
    np.testing.assert_array_equal(one_column.inverse_transform([0.0, 0.5]), [10, 20])
    assert one_column.inverse_transform(np.float64(0.5)) == 20
    assert one_column.inverse_transform(np.float64(0.5)).dtype == np.float64
    with pytest.raises(ShapeError, match=r"x: got shape \(2, 3\), wanted \(\.\.\., 1\)"):
        one_column.transform(np.ones((2, 3)))


@pytest.mark.parametrize("make", [MinMaxScaler, StandardScaler])
def test_dtypes(make):
    for given_dtype, wanted in [("f4", "f4"), ("f8", "f8"), ("i8", "f4"), ("u1", "f4")]:
        scaler = make()
        assert scaler.fit_transform(np.array([1, 2, 4], given_dtype)).dtype == np.dtype(wanted)
        assert scaler.inverse_transform(np.array([0, 1], given_dtype)).dtype == np.dtype(wanted)
    assert make().fit_transform([1.0, 2.0]).dtype == np.float32


def test_statistics_are_taken_in_float64():
    x = np.full(100_000, 0.1, np.float32)
    x[0] = 0.2
    scaler = StandardScaler().fit(x)
    assert scaler.shift == x.astype(np.float64).mean()


@given(tables, scalers)
def test_state_dict_carries_everything(x, make):
    scaler = make().fit(x)
    state = scaler.state_dict()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    other = type(scaler)()
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.transform(x), scaler.transform(x))
    state["shift"] += 1  # a copy
    np.testing.assert_array_equal(other.transform(x), scaler.transform(x))


@pytest.mark.parametrize("make", [MinMaxScaler, StandardScaler])
def test_errors(make):
    scaler = make()
    name = make.__name__
    for call in (scaler.transform, scaler.inverse_transform):
        with pytest.raises(RuntimeError, match=rf"this {name} is not fitted: call fit\(\) or load_state_dict\(\)"):
            call([1.0])
    with pytest.raises(RuntimeError, match="not fitted"):
        scaler.state_dict()
    with pytest.raises(DataError, match=r"x\[1, 0\]: got nan, wanted a finite number"):
        scaler.fit([[1.0, 2.0], [np.nan, 4.0]])
    with pytest.raises(DataError, match=r"x\[1\]: got -inf, wanted a finite number"):
        scaler.fit([1.0, -np.inf])
    with pytest.raises(DataError, match=r"x: got the empty shape \(0, 2\), wanted at least one row"):
        scaler.fit(np.ones((0, 2)))
    with pytest.raises(ShapeError, match=r"x: got a single number"):
        scaler.fit(3.0)
    with pytest.raises(DTypeError, match=r"x: got dtype <U1, wanted real numbers"):
        scaler.fit(["a"])
    with pytest.raises(DataError, match=r"x: got values so large that their spread overflows float64"):
        scaler.fit(np.array([-1.7e308, 1.7e308]))

    scaler.fit(np.arange(6.0).reshape(2, 3))
    with pytest.raises(DataError, match=r"x\[0, 2\]: got nan"):
        scaler.transform([[1.0, 2.0, np.nan]])
    assert np.isnan(scaler.inverse_transform([[1.0, 2.0, np.nan]])[0, 2])
    with pytest.raises(ShapeError, match=r"x: got shape \(4, 2\), wanted \(\.\.\., 3\), one entry per column"):
        scaler.inverse_transform(np.ones((4, 2)))
    with pytest.raises(ShapeError, match=r"x: got shape \(4, 3\), wanted \(\.\.\., 2\)"):
        scaler.inverse_transform(np.ones((4, 3)), columns=[0, 1])
    with pytest.raises(ValueError, match=r"columns: got 3, wanted 0 <= column < 3"):
        scaler.inverse_transform(np.ones(2), columns=3)
    with pytest.raises(ValueError, match=r"columns: got -1, wanted an integer >= 0"):
        scaler.inverse_transform(np.ones(2), columns=[-1, 0])
    with pytest.raises(TypeError, match=r"columns: got 'x', wanted an integer >= 0"):
        scaler.inverse_transform(np.ones(2), columns="x")


@pytest.mark.parametrize("feature_range", [(1, 1), (1, 0), (0, np.inf), (np.nan, 1)])
def test_errors_of_the_range(feature_range):
    with pytest.raises(ValueError, match=r"feature_range: got .*, wanted \(low, high\) with low < high"):
        MinMaxScaler(feature_range)


def test_errors_of_states():
    state = MinMaxScaler().fit([1.0, 2.0]).state_dict()
    with pytest.raises(CheckpointError, match=r"got the keys \['feature_range', 'scale', 'shift'\], wanted"):
        StandardScaler().load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"got the keys \['scale'\], wanted \['feature_range', "):
        MinMaxScaler().load_state_dict({"scale": state["scale"]})
    with pytest.raises(CheckpointError, match=r"shift of shape \(2,\) and scale of shape \(\), wanted the same"):
        MinMaxScaler().load_state_dict({**state, "shift": np.ones(2)})
    with pytest.raises(CheckpointError, match=r"got shift nan and scale 1.0, wanted finite"):
        MinMaxScaler().load_state_dict({**state, "shift": np.array(np.nan)})
    with pytest.raises(CheckpointError, match=r"scale 0.0, wanted finite and scale > 0"):
        MinMaxScaler().load_state_dict({**state, "scale": np.array(0.0)})
    with pytest.raises(CheckpointError, match=r"got the feature_range \[1. 0.\], wanted"):
        MinMaxScaler().load_state_dict({**state, "feature_range": np.array([1.0, 0.0])})
