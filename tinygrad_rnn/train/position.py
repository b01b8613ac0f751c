"""Where a training stands in its batches, so that an epoch that was left early goes on with the very next one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import CheckpointError, DataError
from . import randomness
from .state import entries


class Position:
    """The place in a loader.

    A loader with ``state_dict`` and ``load_state_dict`` goes on by itself. Any other is iterated from the
    beginning of the epoch, with its generators as they were then, up to where it was left.
    """

    def __init__(self) -> None:
        self._loader: Any = None
        self._sources: dict[str, randomness.Source] = {}
        self._left: Any = None  # its own state where it was left
        self._now: dict[str, Any] | None = None  # of its generators, there
        self._begun: dict[str, Any] | None = None  # of all generators, at the beginning of the epoch
        self._resumed = False  # from a file
        self._moved = False  # since it began

    def begin(self, loader: Any) -> None:
        """Iterate over `loader` from now on."""
        self._loader, self._moved = loader, False
        self._sources = randomness.found_in({"loader": loader})

    def leave(self) -> None:
        """Take note of the place; the loader itself is let go."""
        if self._moved:
            self._left, self._now = self._state(), randomness.states(self._sources)
        self._loader, self._sources = None, {}

    def _state(self) -> Any:
        return self._loader.state_dict() if hasattr(self._loader, "state_dict") else None

    def batches(self, loader: Iterable[Any], done: int) -> Iterator[Any]:
        """The batches of this epoch after the first `done`."""
        resumed, self._resumed, self._moved = self._resumed, False, True
        tells = hasattr(loader, "load_state_dict") and hasattr(loader, "state_dict")
        if resumed and self._now:
            randomness.check(self._sources, self._now, "loader")
        if tells:
            if self._left is not None and (done or resumed):
                loader.load_state_dict(self._left)  # type: ignore[attr-defined]
            if resumed and self._now:
                randomness.restore(self._sources, self._now)
            return iter(loader)
        everything = {**randomness.shared(), **self._sources}
        if done == 0:
            if resumed and self._now:
                randomness.restore(self._sources, self._now)
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

    def saved(self) -> dict[str, Any]:
        """As numbers, lists, dicts and arrays."""
        if self._loader is None or not self._moved:
            return {"state": self._left, "now": self._now, "begun": self._begun}
        return {"state": self._state(), "now": randomness.states(self._sources), "begun": self._begun}

    @staticmethod
    def of(saved: Any) -> Position:
        """The inverse of :meth:`saved`; whether it fits a loader is seen when there is one."""
        values = entries("loader", saved, ["state", "now", "begun"])
        for name in ("now", "begun"):
            if not (values[name] is None or isinstance(values[name], dict)):
                raise CheckpointError(f"loader: {name}: got {type(values[name]).__name__}, wanted a dict or nothing")
        if values["begun"]:
            shared = randomness.shared()
            randomness.check(shared, {name: values["begun"].get(name) for name in shared}, "loader")
        new = Position()
        new._left, new._now, new._begun = values["state"], values["now"], values["begun"]
        new._resumed = True
        return new
