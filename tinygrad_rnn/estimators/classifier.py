"""The classifier of whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d

from ..nn import functional as F
from .base import SequenceEstimator, weights_of


class SequenceClassifier(ClassifierMixin, SequenceEstimator):
    """A recurrent network that tells the class of a sequence.

    The parameters are those of :class:`SequenceEstimator`.

    Attributes
    ----------
    classes_ : ndarray
    weights_ : dict of ndarray
        Of the network.
    history_ : dict of lists
        As of :class:`tinygrad_rnn.train.Trainer`; `n_iter_` epochs, the last loss `loss_`.
    n_features_in_ : int
        Columns of a table, else features of a step.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.estimators import SequenceClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(rng.integers(3, 9), 2)) for _ in range(60)]  # of different lengths
    >>> y = np.where([x[:, 0].mean() > 0 for x in X], "up", "down")
    >>> classifier = SequenceClassifier("lstm", 8, max_iter=20, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9, classifier.predict_proba(X[:3]).shape
    (True, (3, 2))
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequenceClassifier:
        """Fit to sequences and their classes.

        Parameters
        ----------
        X : array_like, (N, T, F), or (N, T) of single numbers, or a list of N arrays, (T_i, F) or (T_i,)
        y : array_like, (N,)
            Classes: numbers or words.
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
        y = column_or_1d(y, warn=True)
        if len(y) != len(sequences):
            raise ValueError(f"y: got {len(y)} classes, wanted {len(sequences)} as there are sequences")
        assert_all_finite(y, input_name="y")
        try:
            classes = np.unique(y)
        except TypeError:  # which cannot be put in order
            kinds = ", ".join(sorted({type(label).__name__ for label in y}))
            raise ValueError(f"y: got classes of several types ({kinds}), wanted numbers or words") from None
        check_classification_targets(y)
        weights = weights_of(sample_weight, len(sequences))
        if self._is_warm():
            if not np.isin(classes, self.classes_).all():
                raise ValueError(f"y: got the classes {classes}, wanted {self.classes_} as in the fit before")
        else:
            self.classes_ = classes
        labels: np.ndarray = np.searchsorted(self.classes_, y)
        if weights is not None and not weights.all():  # what has no weight is not there
            sequences, labels, weights = sequences.rows(weights > 0), labels[weights > 0], weights[weights > 0]
        self._measure_inputs(sequences, weights)
        self._train(sequences, labels.astype(np.int64), weights, len(self.classes_), labels=labels)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of sequences, (N, classes), in the order of `classes_`."""
        scores = self._fitted(X)
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest classes of sequences, (N,)."""
        best = self._fitted(X).argmax(1)
        return self.classes_[best]

    def _loss(self, scores: Any, targets: Any) -> Any:
        return F.cross_entropy(scores, targets)

    def _weighted_loss(self, scores: Any, targets: Any) -> Any:
        labels, weights = targets
        return (F.cross_entropy(scores, labels, reduction="none") * weights).mean()
