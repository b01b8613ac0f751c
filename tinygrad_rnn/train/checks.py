"""Checks of a trainer's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..checks import is_number, is_whole, shown, whole_number
from ..optim import Optimizer, Schedule

EVENTS = ("on_fit_start", "on_epoch_start", "on_step_end", "on_epoch_end", "on_interrupt", "on_fit_end")
NONFINITE = ("stop", "skip", "ignore")
COLUMNS = ("epoch", "loss", "lr", "grad_norm", "skipped", "seconds")  # of the history and of logs
COMPILE = ("auto", "always", "never")


def check_parts(model: Any, optimizer: Any, loss: Any, step: Any) -> None:
    """Raise unless the optimiser updates the model, and there is one way to a loss."""
    if (loss is None) == (step is None):
        raise ValueError(f"loss: got {'neither' if loss is None else 'both'}, wanted either loss or step")
    if isinstance(model, type):
        raise TypeError(f"model: got the class {model.__name__}, wanted a model, such as {model.__name__}(...)")
    if model is not None and not callable(model):
        raise TypeError(f"model: got {_shown(model)}, wanted a module or a function")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {_shown(optimizer)}, wanted an Optimizer, such as Adam(model.parameters())")
    for name, function, form in (("loss", loss, "(predictions, targets)"), ("step", step, "(batch)")):
        if isinstance(function, type):
            raise TypeError(f"{name}: got the class {function.__name__}, wanted {function.__name__}()")
        if function is not None and not callable(function):
            raise TypeError(f"{name}: got {_shown(function)}, wanted a function {name}{form} that returns a Tensor")
    params = [p for group in optimizer.param_groups for p in group["params"]]
    if not params:
        raise ValueError("optimizer: got one without parameters, wanted those of the model")
    if loss is not None and hasattr(model, "parameters"):
        own = {id(p) for p in model.parameters()}
        if own and not any(id(p) in own for p in params):
            raise ValueError("optimizer: got one of other parameters, wanted some of those of the model")


_STEP = Optimizer.step  # also where somebody replaces it
_UPDATES = frozenset({"step", "zero_grad", "_update"})  # what an optimiser does at an update


def has_plain_step(optimizer: Optimizer) -> bool:
    """Whether updates are those of :class:`Optimizer`, and nobody has put another `step` in their place."""
    return methods_of(optimizer)[0] is _STEP and _UPDATES.isdisjoint(vars(optimizer))


def methods_of(optimizer: Optimizer) -> tuple[Any, Any, Any]:
    """What the class of an optimiser does at an update."""
    kind = type(optimizer)
    return kind.step, kind._update, kind._initial_values


def check_schedules(optimizer: Optimizer, schedule: Any, step_schedule: Any) -> None:
    """Raise unless the schedules are those of the optimiser."""
    for name, part in (("schedule", schedule), ("step_schedule", step_schedule)):
        if part is None:
            continue
        if not isinstance(part, Schedule):
            raise TypeError(f"{name}: got {_shown(part)}, wanted a Schedule, such as StepLR(optimizer, 10)")
        if part.optimizer is not optimizer:
            raise ValueError(f"{name}: got a schedule of another optimizer, wanted one of this trainer's")
    if step_schedule is not None and step_schedule.needs_metric:
        raise ValueError(
            f"step_schedule: got {type(step_schedule).__name__}, which needs a loss per epoch; pass it as schedule"
        )


def check_metrics(metrics: Any, loss: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """The metrics as a dict of functions, whose names are no columns of the history yet."""
    if metrics is None:
        return {}
    wanted = 'wanted a dict of functions f(predictions, targets), such as {"accuracy": nn.accuracy}'
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics: got {_shown(metrics)}, {wanted}")
    for name, function in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"metrics: got the name {shown(name)}, {wanted}")
        if not name or name in COLUMNS or name.startswith("val_"):
            raise ValueError(f"metrics: got the name {name!r}, wanted one that is no other column of the history")
        if isinstance(function, type):
            raise TypeError(f"metrics[{name!r}]: got the class {function.__name__}, wanted {function.__name__}()")
        if not callable(function):
            raise TypeError(f"metrics[{name!r}]: got {_shown(function)}, wanted a function f(predictions, targets)")
    if metrics and loss is None:
        raise ValueError("metrics: got some and a step function, which shows no predictions; wanted loss")
    return dict(metrics)


def check_accumulate(accumulate: Any, optimizer: Optimizer) -> int:
    """The number of batches that share an update."""
    count = whole_number("accumulate", accumulate)
    if count > 1 and optimizer.needs_closure:
        kind = type(optimizer).__name__
        raise ValueError(f"accumulate: got {count}, wanted 1, as {kind} computes the loss of a batch several times")
    return count


def check_callbacks(callbacks: Any) -> list[Any]:
    """The callbacks as a list."""
    if isinstance(callbacks, str) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: got {type(callbacks).__name__}, wanted a list of callbacks")
    listed = list(callbacks)
    for c in listed:
        if isinstance(c, type):
            raise TypeError(f"callbacks: got the class {c.__name__}, wanted {c.__name__}(...)")
        if not callable(c) and not any(hasattr(c, event) for event in EVENTS):
            raise TypeError(f"callbacks: got {type(c).__name__}, wanted a function or one of {', '.join(EVENTS)}")
    return listed


def check_positive(name: str, value: Any, whole: bool = False) -> None:
    """Raise unless `value` is None or a number above 0."""
    if value is None:
        return
    if not (is_whole(value) if whole else is_number(value)):
        raise TypeError(f"{name}: got {shown(value)}, wanted a {'whole' if whole else 'positive'} number or None")
    if not value > 0:
        raise ValueError(f"{name}: got {shown(value)}, wanted a positive number or None")


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return repr(value) if isinstance(value, str | int | float) else type(value).__name__
