"""What the estimators learn, from which forms of sequences, and with which other parts of scikit-learn."""

import pickle
import pickletools

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.estimators import Forecaster, SequenceClassifier, SequenceRegressor

from .cells import Leaky

QUICK = {"cell": "rnn", "hidden_size": 4, "max_iter": 3, "compile": "never", "random_state": 0}


def ragged(n=40, features=2, seed=0):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(rng.integers(3, 9), features)).astype(np.float32) for _ in range(n)]
    return X, np.array(["down", "up"])[[int(x[:, 0].mean() > 0) for x in X]]


def test_classes_of_ragged_sequences():
    X, y = ragged(60)
    classifier = SequenceClassifier("gru", 8, max_iter=30, compile="never", random_state=0).fit(X, y)
    assert classifier.score(X, y) > 0.9
    assert [*classifier.classes_] == ["down", "up"]
    chances = classifier.predict_proba(X)
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)
    assert [*classifier.predict(X)] == [*classifier.classes_[chances.argmax(1)]]
    for i in (0, 7):  # padding leaks nowhere
        np.testing.assert_allclose(classifier.predict_proba(X[i : i + 1])[0], chances[i], rtol=1e-5)
    assert classifier.n_iter_ == 30
    assert len(classifier.history_["loss"]) == 30
    assert classifier.loss_ < classifier.history_["loss"][0]


def test_numbers_of_sequences_in_any_units():
    rng = np.random.default_rng(0)
    X = 1e3 + 50 * rng.normal(size=(80, 5, 2))
    Y = np.stack([1e6 * X[:, -1, 0], 1e-6 * X[:, :, 1].mean(1)], 1)
    regressor = SequenceRegressor(hidden_size=8, max_iter=40, compile="never", random_state=0).fit(X, Y)
    assert regressor.predict(X).shape == (80, 2)
    assert regressor.score(X, Y) > 0.9
    one = SequenceRegressor(**QUICK).fit(X, Y[:, 0])
    assert one.predict(X).shape == (80,)


def test_forms_of_sequences():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(12, 5))
    y = table[:, -1]
    wanted = SequenceRegressor(**QUICK).fit(table, y).predict(table)
    for X in (table[:, :, None], [*table[:, :, None]], table.tolist(), [*table]):
        np.testing.assert_array_equal(SequenceRegressor(**QUICK).fit(X, y).predict(X), wanted)
    long = [*table, rng.normal(size=7)]
    found = SequenceRegressor(**QUICK).fit(long, [*y, 0.0])
    assert found.n_features_in_ == 1
    np.testing.assert_allclose(found.predict(long)[:12], found.predict(table), rtol=1e-5)


def test_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["a", "b", "c"])
    regressor = SequenceRegressor(**QUICK).fit(frame, frame["c"])
    assert [*regressor.feature_names_in_] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        regressor.predict(frame[["b", "a", "c"]])
    frames = [frame, frame[:5], frame[3:]]
    assert SequenceClassifier(**QUICK).fit(frames, pandas.Series(["x", "y", "x"])).predict(frames).shape == (3,)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("cell", "options"), [("lstm", {}), ("mgu", {}), (nn.LSTMCell, {}), (Leaky, {"cell_options": {"rate": 0.5}})]
)
def test_any_cell(cell, options):
    X, y = ragged(12)
    made = SequenceClassifier(**{**QUICK, "cell": cell}, num_layers=2, **options).fit(X, y)
    again = pickle.loads(pickle.dumps(clone(made).fit(X, y)))
    np.testing.assert_array_equal(again.predict_proba(X), made.predict_proba(X))


@pytest.mark.slow
def test_programs_fit_alike():
    X, y = ragged(40)
    options = {**QUICK, "dropout": 0.2, "batch_size": 20}
    weights = np.random.default_rng(0).uniform(0.5, 2, 40)
    tape = SequenceClassifier(**options).fit(X, y, weights)
    programs = SequenceClassifier(**{**options, "compile": "always"}).fit(X, y, weights)
    np.testing.assert_allclose(programs.predict_proba(X), tape.predict_proba(X), rtol=1e-3)


def test_weights_are_repetitions():
    X, y = ragged(12)
    counts = np.random.default_rng(1).integers(0, 3, 12)
    options = {**QUICK, "batch_size": None, "max_iter": 10}
    weighted = SequenceClassifier(**options).fit(X, y, sample_weight=counts)
    repeated = SequenceClassifier(**options).fit([x for x, n in zip(X, counts) for _ in range(n)], np.repeat(y, counts))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=2e-3)
    scaled = SequenceClassifier(**options).fit(X, y, sample_weight=7.5 * counts)
    np.testing.assert_allclose(scaled.predict_proba(X), weighted.predict_proba(X), rtol=1e-3)


def test_early_stopping():
    X, y = ragged(40)
    options = {**QUICK, "max_iter": 300, "early_stopping": True, "n_iter_no_change": 3, "validation_fraction": 0.3}
    made = SequenceClassifier(**{**options, "learning_rate": 0.05}).fit(X, y)
    losses = made.history_["val_loss"]
    assert made.n_iter_ == len(losses) < 300
    assert int(np.argmin(losses)) == made.n_iter_ - 4


def test_warm_start():
    X, y = ragged(30)
    made = SequenceClassifier(**QUICK, warm_start=True).fit(X, y)
    first = made.loss_
    for _ in range(3):
        made.fit(X, y)
    assert made.loss_ < first
    again = pickle.loads(pickle.dumps(made)).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), made.fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match="y: got the classes"):
        made.fit(X, ["other"] * 30)
    with pytest.raises(ValueError, match="3 features"):
        made.fit([np.zeros((4, 3))] * 30, y)
    with pytest.raises(ValueError, match="warm_start: got other sizes"):
        made.set_params(hidden_size=5).fit(X, y)
    cold = SequenceClassifier(**QUICK)
    np.testing.assert_array_equal(cold.fit(X, y).predict_proba(X), cold.fit(X, y).predict_proba(X))


def test_random_state():
    X, y = ragged(12)
    tr.seed(3)
    wanted = tr.randn(2).numpy()
    tr.seed(3)
    one = SequenceClassifier(**QUICK, dropout=0.3).fit(X, y)
    np.testing.assert_array_equal(tr.randn(2).numpy(), wanted)
    two = SequenceClassifier(**QUICK, dropout=0.3).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    other = SequenceClassifier(**{**QUICK, "random_state": np.random.RandomState(1)}).fit(X, y)
    assert abs(other.predict_proba(X) - one.predict_proba(X)).max() > 1e-6


def test_a_pickle_holds_arrays_and_settings():
    X, y = ragged(12)
    made = SequenceClassifier(**{**QUICK, "cell": Leaky}).fit(X, y)
    raw = pickle.dumps(made)
    words = [word for _, word, _ in pickletools.genops(raw) if isinstance(word, str)]
    modules = {word for word in words if word.partition(".")[0] in ("tinygrad_rnn", "tests", "numpy", "sklearn")}
    assert {word for word in modules if not word.startswith("numpy")} == {
        "tinygrad_rnn.estimators.classifier",
        "tests.estimators.cells",
    }
    again = pickle.loads(raw)
    np.testing.assert_array_equal(again.predict_proba(X), made.predict_proba(X))
    again.set_params(hidden_size=99)  # what was fitted stays
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict_proba(X), made.predict_proba(X))


# ---- with other parts of scikit-learn


def test_pipelines():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 6))
    y = (table[:, -1] > 0).astype(int)
    pipeline = make_pipeline(StandardScaler(), SequenceClassifier(**{**QUICK, "max_iter": 25}))
    assert pipeline.fit(table, y).score(table, y) > 0.75
    weighted = pipeline.fit(table, y, sequenceclassifier__sample_weight=np.ones(30))
    assert weighted.predict_proba(table).shape == (30, 2)
    X, words = ragged(20)
    logs = make_pipeline(FunctionTransformer(lambda X: [np.exp(x) for x in X]), SequenceClassifier(**QUICK))
    assert logs.fit(X, words).predict(X).shape == (20,)
    assert cross_val_score(SequenceClassifier(**QUICK), X, words, cv=2).shape == (2,)


@pytest.mark.slow  # the processes import everything anew
def test_searches_in_processes():
    X, y = ragged(24)
    grid = {"cell": ["rnn", Leaky], "hidden_size": [4]}
    search = GridSearchCV(SequenceClassifier(**QUICK), grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert search.cv_results_["mean_test_score"].shape == (2,)
    alone = GridSearchCV(SequenceClassifier(**QUICK), grid, cv=2, error_score="raise").fit(X, y)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])


# ---- forecasts


def test_forecasts_of_a_series():
    series = np.sin(np.arange(150) / 4)
    options = {**QUICK, "cell": "gru", "hidden_size": 8, "max_iter": 60}
    made = Forecaster(12, 5, **options).fit(series[:120])
    assert made.predict().shape == (5,)
    np.testing.assert_allclose(made.predict(), series[120:125], atol=0.15)
    np.testing.assert_allclose(made.predict(horizon=14), series[120:134], atol=0.4)
    np.testing.assert_array_equal(made.predict(horizon=3), made.predict()[:3])
    np.testing.assert_allclose(made.predict(series[:110]), series[110:115], atol=0.15)
    assert made.score(series[100:]) > 0.95
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again.predict(), made.predict())


def test_forecasts_of_several_columns_and_series():
    time = np.arange(60) / 3
    columns = np.stack([np.sin(time), 100 + 10 * np.cos(time)], 1)
    made = Forecaster(6, 2, **QUICK).fit(columns)
    assert made.predict().shape == (2, 2)
    assert made.predict(horizon=5).shape == (5, 2)
    several = Forecaster(6, 2, **QUICK).fit([columns[:30], columns[20:]])
    both = several.predict([columns[:30], columns[:9]])
    np.testing.assert_allclose(both[1], several.predict(columns[:9]), rtol=1e-5)
    other = Forecaster(6, 2, **QUICK).fit(columns, columns[:, 0])
    assert other.predict(columns).shape == (2,)
    assert np.isfinite(other.score(columns, columns[:, 0]))
    with pytest.raises(ValueError, match="horizon: got 3, wanted at most 2"):
        other.predict(horizon=3)


def test_forecasts_early_stopping_weights_and_searches():
    series = np.sin(np.arange(80) / 4)
    options = {**QUICK, "early_stopping": True, "max_iter": 100, "n_iter_no_change": 2, "learning_rate": 0.1}
    made = Forecaster(6, 2, **options).fit(series, sample_weight=np.linspace(0, 1, 80))
    assert made.n_iter_ < 100
    search = GridSearchCV(Forecaster(6, 1, **QUICK), {"window": [4, 8]}, cv=TimeSeriesSplit(2)).fit(series)
    assert search.best_params_["window"] in (4, 8)


def test_forecasts_keep_names_and_dates():
    pandas = pytest.importorskip("pandas")
    months = pandas.date_range("2020-01", periods=40, freq="MS")
    frame = pandas.DataFrame({"sales": np.sin(np.arange(40)), "rain": np.cos(np.arange(40))}, months)
    made = pickle.loads(pickle.dumps(Forecaster(6, 3, **QUICK).fit(frame[:30])))
    table = made.predict()
    assert [*table.columns] == ["sales", "rain"]
    assert [*table.index] == [*months[30:33]]
    assert [*made.predict(frame, horizon=5).index] == [*pandas.date_range("2023-05", periods=5, freq="MS")]
    np.testing.assert_array_equal(made.predict(frame[:30].to_numpy()), table.to_numpy())
    one = Forecaster(6, 3, **QUICK).fit(frame["sales"]).predict()
    assert (one.name, one.index[0]) == ("sales", pandas.Timestamp("2023-05-01"))
    both = Forecaster(6, 3, **QUICK).fit(frame, frame["rain"])
    assert both.predict(frame).name == "rain"
    assert type(made.predict(frame.reset_index(drop=True))) is np.ndarray
    with pytest.raises(DataError, match="X: got no row for 2020-06-01"):
        Forecaster(6, 3, **QUICK).fit(frame.drop(months[5]))


def test_forecasts_stay_in_their_time_zone():
    """A day there may have 23 hours."""
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-03-01", periods=40, tz="Europe/Berlin")
    series = pandas.Series(np.sin(np.arange(40)), days, name=7)
    made = pickle.loads(pickle.dumps(Forecaster(6, 3, **QUICK).fit(series[:30])))
    assert [*made.predict().index] == [*days[30:33]]
    assert [*made.predict(series[:29]).index] == [*days[29:32]]
    assert made.predict().name == 7


def test_columns_keep_their_order():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frames = [pandas.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"]) for n in (3, 5, 4, 4)]
    turned = [frame[["b", "a"]] for frame in frames]
    y = [0, 1, 0, 1]
    made = SequenceClassifier(**QUICK).fit(frames, y)
    assert (made.predict([frame.to_numpy() for frame in frames]) == made.predict(frames)).all()
    for call in (
        lambda: made.predict(turned),
        lambda: made.set_params(warm_start=True).fit(turned, y),
        lambda: SequenceClassifier(**QUICK).fit([frames[0], turned[1], *frames[2:]], y),
    ):
        with pytest.raises(ValueError, match=r"X(\[1\])?: got the columns b, a, wanted a, b, in this order"):
            call()
    frame = pandas.DataFrame(rng.normal(size=(30, 2)), columns=["a", "b"])
    forecaster = Forecaster(6, 3, **QUICK).fit(frame)
    assert forecaster.predict(frame.to_numpy()).shape == (3, 2)
    for call in (
        lambda: forecaster.predict(frame[["b", "a"]]),
        lambda: forecaster.score(frame[["b", "a"]]),
        lambda: Forecaster(6, 3, **QUICK).fit([frame, frame[["b", "a"]]]),
    ):
        with pytest.raises(ValueError, match=r"X(\[1\])?: got the columns b, a, wanted a, b"):
            call()


def test_targets_of_other_dates():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.sin(np.arange(30))}, pandas.date_range("2024", periods=30))
    with pytest.raises(ValueError, match="y: got other dates than those of X"):
        Forecaster(6, 3, **QUICK).fit(frame, frame["a"].shift(1, freq="D"))


def test_few_of_each_class():
    """Too few are held out to have one of each among them."""
    X = np.random.default_rng(0).normal(size=(30, 4, 1))
    options = {**QUICK, "max_iter": 2}
    made = SequenceClassifier(early_stopping=True, **options).fit(X, np.repeat(np.arange(15), 2))
    assert len(made.classes_) == 15


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cell": "lstmm"}, ValueError, "cell: got 'lstmm', wanted a class of cells, or one of"),
        ({"cell": nn.LSTMCell(2, 3)}, TypeError, "cell: got .*, wanted the name of a cell"),
        ({"cell": nn.LSTM}, TypeError, "cell: got"),
        ({"hidden_size": 0}, ValueError, "hidden_size: got 0"),
        ({"max_iter": 2.5}, ValueError, "max_iter: got 2.5"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"learning_rate": -1}, ValueError, "learning_rate: got -1"),
        ({"dropout": 2}, ValueError, "dropout: got 2"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction: got 1.0"),
        ({"compile": "yes"}, ValueError, "compile: got 'yes'"),
        ({"early_stopping": "no"}, TypeError, "early_stopping: got 'no'"),
        ({"cell_options": [1]}, TypeError, r"cell_options: got \[1\]"),
    ],
)
def test_wrong_parameters(options, error, text):
    X, y = ragged(6)
    with pytest.raises(error, match=text):
        SequenceClassifier(**{**QUICK, **options}).fit(X, y)


@pytest.mark.parametrize(
    ("X", "text"),
    [
        ([np.zeros((3, 2)), np.zeros((4, 3))], r"X\[1\]: got 3 features, wanted 2"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], r"X\[1\]: got no steps"),
        ([np.zeros((3, 2)), np.zeros(4)], r"X\[1\]: got shape \(4,\)"),
        ([np.zeros(3), np.array([1, np.nan])], "NaN"),
        (np.zeros((2, 3, 4, 5)), r"X: got shape \(2, 3, 4, 5\)"),
        (np.zeros((2, 3, 0)), "X: got shape"),
        ([["a", "b"], ["c", "d", "e"]], "could not convert|dtype"),
    ],
)
def test_wrong_sequences(X, text):
    with pytest.raises(ValueError, match=text):
        SequenceRegressor(**QUICK).fit(X, [0.0, 1.0])


def test_wrong_calls():
    X = np.zeros((4, 3, 1))
    with pytest.raises(ValueError, match=r"y: got classes of several types \(NoneType, str\)"):
        SequenceClassifier(**QUICK).fit(X, np.array(["a", None, "b", "a"], dtype=object))
    with pytest.raises(ValueError, match=r"standardize: got numbers up to 3e\+200, whose variance overflows"):
        SequenceRegressor(**QUICK).fit(np.arange(4.0).reshape(4, 1) * 1e200, np.arange(4))
    X, y = ragged(6)
    with pytest.raises(NotFittedError):
        SequenceClassifier().predict(X)
    with pytest.raises(ValueError, match="y: got 5 classes, wanted 6"):
        SequenceClassifier(**QUICK).fit(X, y[:5])
    for weights, text in ((np.zeros(6), "zeros only"), (-np.ones(6), "-1.0"), (np.ones(5), r"shape \(5,\)")):
        with pytest.raises(ValueError, match=f"sample_weight: got {text}"):
            SequenceClassifier(**QUICK).fit(X, y, weights)
    made = SequenceClassifier(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features"):
        made.predict([np.zeros((4, 3)), np.zeros((5, 3))])
    with pytest.raises(ValueError, match=r"X: got 5 steps .* wanted at least 25"):
        Forecaster(**QUICK).fit(np.zeros(5))
    with pytest.raises(ValueError, match=r"y: got \[4\] steps, wanted \[40\]"):
        Forecaster(**QUICK).fit(np.zeros(40), np.zeros(4))
    with pytest.raises(ValueError, match=r"X\[0\]: got 3 steps, wanted at least 24"):
        Forecaster(**QUICK).fit(np.arange(40.0)).predict(np.zeros(3))
    with pytest.raises(ValueError, match="sample_weight: got those of 1 series, wanted 2"):
        Forecaster(**QUICK).fit([np.zeros(40)] * 2, sample_weight=[np.ones(40)])
    with pytest.raises(ValueError, match="window: got 0"):
        Forecaster(0, **QUICK).fit(np.zeros(40))


def test_without_scikit_learn(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("tinygrad_rnn.estimators")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delattr(tr, "estimators", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "tinygrad_rnn\[sklearn\]"'):
        _ = tr.estimators
