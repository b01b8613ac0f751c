"""Exceptions. Each message names the argument, what it got and what it wanted."""


class TinygradError(Exception):
    """Base of every exception that this package raises on purpose."""


class ShapeError(TinygradError, ValueError):
    """An array has the wrong rank, size or feature count."""


class DTypeError(TinygradError, TypeError):
    """An array has a dtype that cannot be used here."""


class GraphError(TinygradError, RuntimeError):
    """The graph cannot be differentiated: freed, changed in place, or not connected."""


class CompileError(TinygradError, RuntimeError):
    """A step cannot be compiled; the message names the operation and the line."""


class InexactIntegersError(CompileError):
    """A step's integers have become larger than the floats of its compiled loop can hold."""


class VerificationError(TinygradError, AssertionError):
    """A phase of the compiler made something that contradicts itself, by no fault of the step.

    Calls do not fall back to the tape then. It is looked for only with ``TINYGRAD_RNN_VERIFY=1`` in the environment.
    """


class NonFiniteError(TinygradError, FloatingPointError):
    """A loss, a gradient or a weight is NaN or infinite; it was not used."""


class CheckpointError(TinygradError, ValueError):
    """A state dict or a file does not fit what it is loaded into."""


class ExportError(TinygradError, ValueError):
    """A model cannot leave as this kind of file; the message names what is in the way, and where it is."""


class DataError(TinygradError, ValueError):
    """A file or an array of data holds something that cannot be used."""


class NonFiniteDataError(DataError, NonFiniteError):
    """A loss or a gradient is NaN or infinite, and so is the data that it was computed from."""


class AnomalyError(TinygradError, FloatingPointError):
    """A value became NaN or infinite inside :func:`~tinygrad_rnn.detect_anomaly`.

    Attributes
    ----------
    op : str
        The operation, or "" if what was given is not finite.
    phase : {"forward", "backward"}
    where : str
        ``"file:line"``, or "" if it is not known.
    step, row : int or None
        The time step of a recurrent layer, and the row of the batch.
    input : int or None
        Backward: by which of the operation's inputs the gradient is.
    """

    op: str = ""
    phase: str = "forward"
    where: str = ""
    step: int | None = None
    row: int | None = None
    input: int | None = None


class OutOfMemoryError(TinygradError, MemoryError):
    """A batch or a parameter does not fit into the memory; the message says how many bytes it needs."""


class GradcheckError(TinygradError, AssertionError):
    """An analytical gradient differs from its finite difference.

    Attributes
    ----------
    input : int
        The position of the input.
    at : tuple of int
        The entry in it.
    analytical, numerical : float
    kink : bool
        Whether the function has a kink or a jump there: its differences to the left and to the right disagree.
    """

    input: int = -1
    at: tuple = ()
    kink: bool = False
    analytical: float = float("nan")
    numerical: float = float("nan")


class CellCheckError(TinygradError, AssertionError):
    """A recurrent cell does not keep one of the promises that layers rely on.

    Attributes
    ----------
    check : str
        The name of the check that failed.
    case : object
        The smallest failing case that was found: ``case.cell``, ``case.xs``, ``case.state``.
    """

    check: str = ""
    case: object = None
