"""pandas and scikit-learn take tensors, parameters and what was computed from them, as if they were arrays."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

TENSORS = {
    "plain": lambda a: tr.tensor(a),
    "parameter": lambda a: nn.Parameter(a),
    "computed": lambda a: nn.Parameter(a / 2) * 2.0,
}
TABLE = np.random.default_rng(0).normal(size=(20, 3))
LABELS = np.random.default_rng(1).integers(0, 3, 20)
GUESSES = np.random.default_rng(2).integers(0, 3, 20)

PANDAS = {
    "DataFrame": lambda pd, t: pd.DataFrame(t, columns=[*"abc"]),
    "DataFrame of columns": lambda pd, t: pd.DataFrame({"a": t[:, 0], "b": np.arange(20)}),
    "Series": lambda pd, t: pd.Series(t[:, 0], name="x"),
    "Series with dates": lambda pd, t: pd.Series(t[:, 0], pd.date_range("2024", periods=20)).resample("W").mean(),
    "assign": lambda pd, t: pd.DataFrame({"b": np.arange(20)}).assign(a=t[:, 0]),
    "Index": lambda pd, t: pd.Index(t[:, 0]),
    "cut": lambda pd, t: pd.cut(t[:, 0], [-9, 0, 9], labels=False),
    "isna": lambda pd, t: pd.isna(t),
    "arithmetic": lambda pd, t: pd.Series(np.arange(20.0)) * t[:, 0],
    "comparison": lambda pd, t: pd.Series(np.zeros(20)) < t[:, 0],
    "where": lambda pd, t: pd.Series(np.arange(20.0)).where(t[:, 0] > 0, t[:, 1]),
    "fillna": lambda pd, t: pd.Series([1.0, np.nan]).fillna(t[0, 0].item()),
    "dot": lambda pd, t: pd.DataFrame(np.ones((2, 20))).dot(t),
    "concat": lambda pd, t: pd.concat([pd.Series(t[:, 0]), pd.Series(t[:, 1])]),
    "groupby": lambda pd, t: pd.DataFrame({"y": t[:, 0]}).groupby(LABELS).mean(),
    "describe": lambda pd, t: pd.DataFrame(t).describe(),
    "to_csv": lambda pd, t: pd.DataFrame(t).to_csv(),
}
INTEGERS = {
    "value_counts": lambda pd, labels, guesses: pd.Series(labels).value_counts(),
    "crosstab": lambda pd, labels, guesses: pd.crosstab(labels, guesses),
    "get_dummies": lambda pd, labels, guesses: pd.get_dummies(labels),
    "isin": lambda pd, labels, guesses: pd.Series(np.arange(20)).isin(np.asarray(labels)),  # else items are hashed
    "take": lambda pd, labels, guesses: pd.Series(np.arange(20.0)).iloc[labels],
    "reindex": lambda pd, labels, guesses: pd.Series(np.arange(20.0)).reindex(labels),
}


def same(got, wanted):
    assert type(got) is type(wanted)
    if isinstance(wanted, str):
        assert got == wanted
    elif hasattr(wanted, "equals"):
        assert got.equals(wanted)
        assert {str(kind) for kind in np.atleast_1d(getattr(got, "dtypes", ""))} <= {"float64", "int64", "bool", ""}
    else:
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("call", PANDAS)
def test_pandas(call, kind):
    pd = pytest.importorskip("pandas")
    same(PANDAS[call](pd, TENSORS[kind](TABLE)), PANDAS[call](pd, TABLE))


@pytest.mark.parametrize("call", INTEGERS)
def test_integers_in_pandas(call):
    pd = pytest.importorskip("pandas")
    same(INTEGERS[call](pd, tr.tensor(LABELS), tr.tensor(GUESSES)), INTEGERS[call](pd, LABELS, GUESSES))


def test_tensors_from_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(TABLE)
    np.testing.assert_array_equal(tr.tensor(frame).numpy(), TABLE)
    np.testing.assert_array_equal((tr.tensor(TABLE) + frame).numpy(), 2 * TABLE)
    np.testing.assert_array_equal(tr.tensor(frame[0]).numpy(), TABLE[:, 0])


@pytest.mark.parametrize("kind", TENSORS)
def test_models_of_scikit_learn(kind):
    pytest.importorskip("sklearn")
    from sklearn import cluster, decomposition, linear_model, model_selection, neighbors, preprocessing
    from sklearn.utils.validation import check_array

    t, labels = TENSORS[kind](TABLE), tr.tensor(LABELS)
    calls = [
        lambda x, y: preprocessing.StandardScaler().fit_transform(x),
        lambda x, y: preprocessing.MinMaxScaler().fit(x).inverse_transform(x),
        lambda x, y: check_array(x),
        lambda x, y: linear_model.LogisticRegression().fit(x, y).predict_proba(x),
        lambda x, y: linear_model.LinearRegression().fit(x, x[:, 0]).score(x, x[:, 0]),
        lambda x, y: neighbors.KNeighborsClassifier(3).fit(x, y).predict(x),
        lambda x, y: decomposition.PCA(2).fit_transform(x),
        lambda x, y: cluster.KMeans(2, n_init=1, random_state=0).fit(x).labels_,
        lambda x, y: model_selection.cross_val_score(linear_model.Ridge(), x, x[:, 0], cv=3),
        lambda x, y: [i for _, i in model_selection.StratifiedKFold(2).split(x, y)],
        lambda x, y: preprocessing.label_binarize(y, classes=[0, 1, 2]),
    ]
    for call in calls:
        np.testing.assert_allclose(call(t, labels), call(TABLE, LABELS))
    parts = model_selection.train_test_split(t, labels, random_state=0)
    for got, wanted in zip(parts, model_selection.train_test_split(TABLE, LABELS, random_state=0)):
        np.testing.assert_array_equal(got, wanted)


def test_metrics_of_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn import metrics

    labels, guesses = tr.tensor(LABELS), tr.tensor(GUESSES)
    scores = tr.softmax(nn.Parameter(TABLE), -1)
    for name in ("accuracy_score", "confusion_matrix", "classification_report"):
        call = getattr(metrics, name)
        same(call(labels, guesses), call(LABELS, GUESSES))
    assert metrics.log_loss(labels, scores) == metrics.log_loss(LABELS, scores.numpy())
    assert metrics.roc_auc_score(labels, scores, multi_class="ovr") == pytest.approx(
        metrics.roc_auc_score(LABELS, scores.numpy(), multi_class="ovr")
    )
    for call in (metrics.mean_squared_error, metrics.mean_absolute_error, metrics.r2_score):
        assert call(nn.Parameter(TABLE), tr.tensor(TABLE[::-1].copy())) == pytest.approx(call(TABLE, TABLE[::-1]))
