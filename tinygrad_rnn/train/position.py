"""The position in a loader, from which an epoch that was left early goes on with the next batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import CheckpointError, DataError
from . import randomness
from .state import entries


class Position:
    """The position in a loader, with the states of the generators that its order depends on.

    A loader with ``state_dict`` and ``load_state_dict`` goes on by itself. Any other is iterated from the
    beginning of the epoch, with its generators as they were then, up to where it was left.
    """

    def __init__(self) -> None:
        self._loader: Any = None
        self._generators: dict[str, randomness.Generator] = {}
        self._left: Any = None  # the loader's state dict where it was left
        self._now: dict[str, Any] | None = None  # states of its generators where it was left
        self._begun: dict[str, Any] | None = None  # states of all generators at the beginning of the epoch
        self._resumed = False  # whether this comes from a file
        self._moved = False  # whether batches were taken since begin()

    def begin(self, loader: Any) -> None:
        """Use this loader from now on."""
        self._loader, self._moved = loader, False
        self._generators = randomness.find({"loader": loader})

    def leave(self) -> None:
        """Keep the position, and drop the reference to the loader."""
        if self._moved:
            self._left, self._now = self._state(), randomness.states(self._generators)
        self._loader, self._generators = None, {}

    def _state(self) -> Any:
        return self._loader.state_dict() if hasattr(self._loader, "state_dict") else None

    def batches(self, loader: Any, done: int, begin: Callable[[Any], Iterator[Any]] = iter) -> Iterator[Any]:
        """The batches of this epoch after the first `done`; ``begin(loader)``, if that has a state."""
        resumed, self._resumed, self._moved = self._resumed, False, True
        has_state = hasattr(loader, "load_state_dict") and hasattr(loader, "state_dict")
        if resumed and self._now:
            randomness.check(self._generators, self._now, "loader")
        if has_state:
            if self._left is not None and (done or resumed):
                loader.load_state_dict(self._left)
            if resumed and self._now:
                randomness.restore(self._generators, self._now)
            return begin(loader)
        everything = {**randomness.shared_generators(), **self._generators}
        if done == 0:
            if resumed and self._now:
                randomness.restore(self._generators, self._now)
            self._begun = randomness.states(everything)
            return iter(loader)
        now = randomness.states(everything)
        if resumed and self._now:
            now.update(self._now)
        if self._begun is not None:
            if resumed:
                randomness.check(everything, self._begun, "loader")
            randomness.restore(everything, self._begun)
        batches = iter(loader)
        for number in range(done):
            if next(batches, self) is self:
                raise DataError(f"train: got {number} batches, wanted more than the {done} that are done in this epoch")
        randomness.restore(everything, now)
        return batches

    def to_dict(self) -> dict[str, Any]:
        """The position as numbers, lists, dicts and arrays."""
        if self._loader is None or not self._moved:
            return {"state": self._left, "now": self._now, "begun": self._begun}
        return {"state": self._state(), "now": randomness.states(self._generators), "begun": self._begun}

    @staticmethod
    def from_dict(saved: Any) -> Position:
        """The inverse of :meth:`to_dict`; :meth:`batches` checks that it fits the loader."""
        values = entries("loader", saved, ["state", "now", "begun"])
        for name in ("now", "begun"):
            if not (values[name] is None or isinstance(values[name], dict)):
                raise CheckpointError(f"loader: {name}: got {type(values[name]).__name__}, wanted a dict or nothing")
        if values["begun"]:
            shared = randomness.shared_generators()
            randomness.check(shared, {name: values["begun"].get(name) for name in shared}, "loader")
        new = Position()
        new._left, new._now, new._begun = values["state"], values["now"], values["begun"]
        new._resumed = True
        return new
