"""The regressor of whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array

from .base import SequenceEstimator, weights_of
from .sequences import Scale


class NumberEstimator(SequenceEstimator):
    """An estimator of one or several numbers, by their mean squared error."""

    def _fit_numbers(self, sequences: Any, y: np.ndarray, weights: np.ndarray | None, in_order: bool = False) -> None:
        columns = y.reshape(len(y), -1)
        if not self._is_warm():
            scale = Scale.none(columns.shape[1])
            if self.standardize:
                scale = Scale.of(columns, np.ones(len(y)) if weights is None else weights)
            self.target_mean_, self.target_scale_ = scale
        targets = Scale(self.target_mean_, self.target_scale_).apply(columns)
        self._flat = y.ndim == 1
        self._train(sequences, targets, weights, columns.shape[1], in_order)

    def _numbers(self, scores: np.ndarray) -> np.ndarray:
        numbers = Scale(self.target_mean_, self.target_scale_).undo(scores)
        return numbers[:, 0] if self._flat else numbers

    def _loss(self, scores: Any, targets: Any) -> Any:
        return ((scores - targets) ** 2).mean()

    def _weighted_loss(self, scores: Any, targets: Any) -> Any:
        numbers, weights = targets
        return (((scores - numbers) ** 2).mean(-1) * weights).mean()


class SequenceRegressor(RegressorMixin, NumberEstimator):
    """A recurrent network that tells one or several numbers of a sequence.

    The parameters are those of :class:`SequenceEstimator`.

    Attributes
    ----------
    weights_ : dict of ndarray
        Of the network.
    history_ : dict of lists
        As of :class:`tinygrad_rnn.train.Trainer`; `n_iter_` epochs, the last loss `loss_`.
    n_features_in_ : int
        Columns of a table, else features of a step.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.estimators import SequenceRegressor
    >>> X = np.random.default_rng(0).normal(size=(80, 6, 1))
    >>> y = X.mean((1, 2))
    >>> regressor = SequenceRegressor(hidden_size=8, max_iter=40, random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.9
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequenceRegressor:
        """Fit to sequences and their numbers.

        Parameters
        ----------
        X : array_like, (N, T, F), or (N, T) of single numbers, or a list of N arrays, (T_i, F) or (T_i,)
        y : array_like, (N,) or (N, K)
        sample_weight : array_like, (N,), optional
            Factors of the losses.

        Returns
        -------
        self
        """
        self._check_settings()
        if y is None:
            raise ValueError(f"y: {type(self).__name__} requires y to be passed, but the target y is None")
        sequences = self._read(X, reset=not self._is_warm())
        y = check_array(y, ensure_2d=False, dtype="numeric", estimator=self, input_name="y").astype(np.float64)
        if len(y) != len(sequences) or y.ndim > 2:
            raise ValueError(f"y: got shape {y.shape}, wanted ({len(sequences)},) or ({len(sequences)}, K)")
        weights = weights_of(sample_weight, len(sequences))
        if weights is not None and not weights.all():  # what has no weight is not there
            sequences, y, weights = sequences.rows(weights > 0), y[weights > 0], weights[weights > 0]
        self._measure_inputs(sequences, weights)
        self._fit_numbers(sequences, y, weights)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of sequences, (N,) or (N, K), as `y` was."""
        return self._numbers(self._fitted(X))
