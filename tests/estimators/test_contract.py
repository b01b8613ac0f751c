"""The estimators against scikit-learn's own checks of its contract."""

import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.utils.estimator_checks import parametrize_with_checks

from tinygrad_rnn.estimators import Forecaster, SequenceClassifier, SequenceRegressor

OPTIONS = {
    "cell": "rnn",
    "hidden_size": 8,
    "max_iter": 12,
    "batch_size": 16,
    "learning_rate": 0.03,
    "compile": "never",
    "random_state": 0,
}
ESTIMATORS = [
    SequenceClassifier(**OPTIONS),
    SequenceRegressor(**OPTIONS),
    Forecaster(window=3, horizon=1, **OPTIONS),
]
DRAWN = {"check_sample_weight_equivalence_on_dense_data": "batches are drawn, others where rows are repeated"}
OF_SERIES = {
    "check_methods_sample_order_invariance": "the rows of a series are its steps, whose order matters",
    "check_methods_subset_invariance": "a forecast needs a window of steps, and cannot be made from one",
    "check_fit1d": "one axis is a series of single numbers",
    "check_fit2d_predict1d": "one axis is a series of single numbers, which is refused for their count of features",
}


def expected(estimator):
    return {**DRAWN, **OF_SERIES} if isinstance(estimator, Forecaster) else DRAWN


# scikit-learn skips its array API where SciPy does not switch that on
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.sampled(24)
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected)
def test_the_contract(estimator, check):
    check(estimator)
