"""What all estimators share: parameters, the fit, the network of a fitted one, its form in a pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .. import config, optim
from ..data import DataLoader
from ..train import Trainer
from .network import Network
from .sequences import Scale, Sequences, read, require_names
from .settings import check_settings

AT_ONCE = 256  # sequences of one call of the network


class SequenceEstimator(BaseEstimator):
    """Fits a recurrent network to sequences.

    Parameters
    ----------
    cell : str or class of cells
        A name, such as "lstm", "gru" or "rnn" (``nn.cell_names()`` lists them), or a class of your own, which is
        called with the sizes of inputs and states, and with `cell_options`.
    hidden_size, num_layers : int
    dropout : float
        Of the last output, in training.
    cell_options : dict, optional
    learning_rate, weight_decay : float
        Of AdamW.
    batch_size : int or None
        None for all sequences at once.
    max_iter : int
        Epochs.
    clip_norm : float or None
    early_stopping : bool
        Keep a part of the sequences for validation, stop when `n_iter_no_change` epochs in a row have not improved its
        loss by `tol`, and go back to the weights of the best epoch.
    validation_fraction, n_iter_no_change, tol
        Of `early_stopping`.
    standardize : bool
        Shift and scale each feature (and the targets of a regression) to mean 0 and variance 1, as measured in
        :meth:`fit`; predictions are scaled back.
    warm_start : bool
        Let :meth:`fit` go on from the weights of the fit before.
    random_state : int, RandomState or None
        Of initialisation, order and dropout. The package's common generator is not touched.
    compile : {"auto", "always", "never"}
        As :class:`tinygrad_rnn.train.Trainer` takes it.
    verbose : bool
        Show a progress bar.
    """

    _module: Network | None = None
    _structure: dict[str, Any]  # what the fitted network was made from
    _columns: int | None
    _feature_names: tuple[str, ...] | None  # of the frames, if sequences were such

    def __init__(
        self,
        cell: Any = "gru",
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        cell_options: dict | None = None,
        learning_rate: float = 0.01,
        weight_decay: float = 0.0,
        batch_size: int | None = 32,
        max_iter: int = 50,
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        compile: str = "auto",
        verbose: bool = False,
    ):
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.cell_options = cell_options
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.standardize = standardize
        self.warm_start = warm_start
        self.random_state = random_state
        self.compile = compile
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # ---- inputs

    def _read(self, X: Any, reset: bool = False) -> Sequences:
        """Sequences that fit those of :meth:`fit`; with `reset`, of any number of features."""
        sequences = read(X, self)
        if sequences.columns is not None and (reset or getattr(self, "_columns", None) is not None):
            validate_data(self, X, reset=reset, skip_check_array=True)  # counts and names of a table's columns
        if reset:
            if sequences.columns is None:
                self.n_features_in_ = sequences.features
                if hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            self._columns, self._feature_names = sequences.columns, sequences.names
        elif sequences.features != len(self.input_mean_):
            wanted = f"is expecting {len(self.input_mean_)} features as input, a step"
            raise ValueError(f"X has {sequences.features} features, but {type(self).__name__} {wanted}")
        require_names("X", sequences.names, self._feature_names)
        return sequences

    def _is_warm(self) -> bool:
        return self.warm_start and hasattr(self, "weights_")

    # ---- the fit

    def _train(
        self,
        sequences: Sequences,
        targets: np.ndarray,
        weights: np.ndarray | None,
        outputs: int,
        in_order: bool = False,
        labels: np.ndarray | None = None,
    ) -> None:
        """Fit a network with so many outputs to targets, (N,) or (N, K)."""
        random = check_random_state(self.random_state)
        generator = np.random.default_rng(random.randint(2**31 - 1))
        structure = {
            "cell": self.cell,
            "cell_options": dict(self.cell_options or {}),
            "features": sequences.features,
            "hidden_size": self.hidden_size,
            "outputs": outputs,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
        }
        if self._is_warm() and structure != self._structure:
            raise ValueError(
                "warm_start: got other sizes, cells or classes than those of the fit before, wanted the same"
            )
        with config.drawing_from(generator):
            network = self._network() if self._is_warm() else Network(**structure)
            train, validation = self._split(len(sequences), random, in_order, labels)
            make = lambda index, **how: self._loader(sequences, targets, weights, index, **how)
            if self.batch_size is None:
                loader: Any = list(make(train, batch_size=len(train)))
            else:
                seed = int(generator.integers(2**31))
                loader = make(train, batch_size=min(self.batch_size, len(train)), shuffle=True, seed=seed)
            trainer = Trainer(
                network,
                optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay),
                self._loss if weights is None else self._weighted_loss,
                clip_norm=self.clip_norm,
                compile=self.compile,
                progress=bool(self.verbose),
            )
            trainer.fit(
                loader,
                None if validation is None else make(validation, batch_size=AT_ONCE),
                epochs=self.max_iter,
                patience=self.n_iter_no_change if self.early_stopping else None,
                min_delta=self.tol,
                restore_best=bool(self.early_stopping),
            )
        self._structure, self._module = structure, network
        self.weights_ = {name: np.array(value) for name, value in network.state_dict().items()}
        self.history_ = {name: list(map(float, column)) for name, column in trainer.history.items()}
        self.n_iter_, self.loss_ = trainer.epoch, self.history_["loss"][-1]

    def _split(self, count: int, random: Any, in_order: bool, labels: np.ndarray | None) -> tuple[Any, Any]:
        """Which sequences to train on, and which to validate on: the last ones, if they are in order."""
        if not self.early_stopping:
            return np.arange(count), None
        if labels is not None:
            counts, held = np.bincount(labels), int(np.ceil(self.validation_fraction * count))
            if counts.min() < 2 or len(counts) > min(held, count - held):
                labels = None  # too few to have each class on both sides
        parts = train_test_split(
            np.arange(count),
            test_size=self.validation_fraction,
            shuffle=not in_order,
            random_state=None if in_order else random,
            stratify=labels,
        )
        return parts[0], parts[1]

    def _loader(self, sequences: Sequences, targets: Any, weights: Any, index: Any, **how: Any) -> DataLoader:
        part = sequences.rows(index)
        inputs: tuple = (np.ascontiguousarray(self._input_scale().apply(part.values).swapaxes(0, 1)),)
        if part.mask is not None:
            inputs = (np.where(part.mask.T[..., None], inputs[0], 0), np.ascontiguousarray(part.mask.T))
        goal = targets[index] if weights is None else (targets[index], weights[index].astype(np.float32))
        axes = (1,) * len(inputs) + (0,) * (1 if weights is None else 2)
        return DataLoader((inputs, goal), batch_axis=axes, **how)

    def _measure_inputs(self, sequences: Sequences, weights: np.ndarray | None) -> None:
        """Set the scale of inputs, which a warm start keeps."""
        if self._is_warm():
            return
        scale = Scale.none(sequences.features)
        if self.standardize:
            n, steps, features = sequences.values.shape
            counts = np.ones((n, steps)) if weights is None else np.repeat(weights[:, None], steps, 1)
            counts = counts if sequences.mask is None else counts * sequences.mask
            scale = Scale.of(sequences.values.reshape(-1, features), counts.reshape(-1))
        self.input_mean_, self.input_scale_ = scale

    def _input_scale(self) -> Scale:
        return Scale(self.input_mean_, self.input_scale_)

    def _loss(self, scores: Any, targets: Any) -> Any:
        raise NotImplementedError

    def _weighted_loss(self, scores: Any, targets: Any) -> Any:
        raise NotImplementedError

    def _check_settings(self) -> None:
        check_settings(self)

    # ---- a fitted one

    def _network(self) -> Network:
        """The fitted network, made from settings and arrays if need be."""
        if self._module is None:
            with config.drawing_from(np.random.default_rng(0)):
                network = Network(**self._structure)
            network.load_state_dict(self.weights_)
            self._module = network
        return self._module

    def _scores(self, sequences: Sequences) -> np.ndarray:
        """What the network makes of sequences, (N, outputs)."""
        network = self._network().eval()
        nothing = np.zeros(len(sequences), np.float32)
        found = []
        with config.no_grad():
            for inputs, _ in self._loader(sequences, nothing, None, np.arange(len(sequences)), batch_size=AT_ONCE):
                found.append(network(*inputs).numpy())
        return np.concatenate(found)

    def _fitted(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "weights_")
        return self._scores(self._read(X))

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_module"}


def weights_of(sample_weight: Any, count: int) -> np.ndarray | None:
    """Weights of samples, those that are not zero with a mean of 1, or None."""
    if sample_weight is None:
        return None
    if np.isscalar(sample_weight):
        sample_weight = np.full(count, sample_weight)
    weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.shape != (count,):
        raise ValueError(f"sample_weight: got shape {weights.shape}, wanted ({count},)")
    if weights.min() < 0 or not weights.any():
        got = "zeros only" if not weights.any() else f"{weights.min()}"
        raise ValueError(f"sample_weight: got {got}, wanted at least 0, and some above")
    return weights * (np.count_nonzero(weights) / weights.sum())
