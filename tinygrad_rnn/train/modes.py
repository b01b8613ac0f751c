"""Training and evaluation modes of a model, with submodules that the user keeps in evaluation."""

from __future__ import annotations

from typing import Any


class Modes:
    """Switches a model between training and evaluation.

    A submodule that was put into ``eval()`` while the model is in training stays so. A model that was put
    into ``eval()`` as a whole goes back to the modes it was last seen with in training.

    Parameters
    ----------
    model : Module, or any object with a method ``train(mode)``, or another callable
    """

    def __init__(self, model: Any):
        self.model = model
        self._frozen: list[Any] = []  # parts in evaluation while the model trains
        self._note_frozen()

    def _note_frozen(self) -> None:
        if getattr(self.model, "training", False):
            self._frozen = [m for m in self._parts() if not m.training]

    def _parts(self) -> list[Any]:
        return list(self.model.modules()) if hasattr(self.model, "modules") else []

    def train(self) -> None:
        """Switch to training, except the submodules that the user has put into evaluation."""
        if not hasattr(self.model, "train"):
            return
        if self._parts() and self.model.training:
            self._note_frozen()
            return
        self.model.train(True)
        for part in self._frozen:
            part.training = False

    def evaluation(self) -> list[tuple[Any, bool]]:
        """Switch all submodules to evaluation; returns the modes before, for :meth:`restore`."""
        if not hasattr(self.model, "train"):
            return []
        self._note_frozen()
        before = [(m, m.training) for m in self._parts()] or [(None, getattr(self.model, "training", True))]
        self.model.train(False)
        return before

    def restore(self, before: list[tuple[Any, bool]]) -> None:
        """Switch back to the modes before."""
        for part, training in before:
            if part is None:
                self.model.train(training)
            else:
                part.training = training
