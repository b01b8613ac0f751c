"""Training and evaluation: each submodule keeps the mode that its owner gave it."""

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
        self._look()

    def _look(self) -> None:
        if getattr(self.model, "training", False):
            self._frozen = [m for m in self._parts() if not m.training]

    def _parts(self) -> list[Any]:
        return list(self.model.modules()) if hasattr(self.model, "modules") else []

    def train(self) -> None:
        """Training, but for the parts that are not to."""
        if not hasattr(self.model, "train"):
            return
        if self._parts() and self.model.training:
            self._look()
            return
        self.model.train(True)
        for part in self._frozen:
            part.training = False

    def evaluation(self) -> list[tuple[Any, bool]]:
        """Evaluation for all; returns what :meth:`back` takes."""
        if not hasattr(self.model, "train"):
            return []
        self._look()
        before = [(m, m.training) for m in self._parts()] or [(None, getattr(self.model, "training", True))]
        self.model.train(False)
        return before

    def back(self, before: list[tuple[Any, bool]]) -> None:
        """The modes as they were."""
        for part, training in before:
            if part is None:
                self.model.train(training)
            else:
                part.training = training
