"""The exceptions of Gradloom: one tree, each also the builtin that a caller would expect.

    GradloomError
    ├── ArgumentError     (ValueError)       an option or argument out of its range
    ├── ShapeError        (ValueError)       sizes that do not fit together
    ├── DataError         (ValueError)       data that cannot be learned from
    ├── ModelFileError    (ValueError)       a file that is no model of ours, or a damaged one
    ├── NotANumberError   (TypeError)        something that is no number where a number belongs
    ├── LostGradientError (TypeError)        a conversion that would silently drop the gradient
    ├── AnomalyError      (ArithmeticError)  the first NaN or infinity, under detect_anomaly()
    ├── MissingExtraError (ImportError)      an optional library is not installed
    ├── RecordingError    (RuntimeError)     a recorded value where it means nothing
    └── RunFolderError    (OSError)          a run folder that is missing, damaged or in the way

Every message says what was wrong, where, and what to do instead, in one line. What only costs
time or may surprise is a warning: RecordingWarning (RuntimeWarning).
"""


class GradloomError(Exception):
    """Whatever Gradloom raises on purpose; catch it to catch them all."""


class ArgumentError(GradloomError, ValueError):
    """An option or argument is out of its range, or its name is unknown."""


class ShapeError(GradloomError, ValueError):
    """Sizes do not fit together; the message gives both."""


class DataError(GradloomError, ValueError):
    """Data cannot be learned from: empty, ragged, constant, not finite, of one class only."""


class ModelFileError(GradloomError, ValueError):
    """A model file is damaged, or was not written by Gradloom."""


class NotANumberError(GradloomError, TypeError):
    """Something that is no real number stands where a number belongs."""


class LostGradientError(GradloomError, TypeError):
    """A conversion (`float(v)`, `math.exp(v)`) would silently drop the gradient."""


class AnomalyError(GradloomError, ArithmeticError):
    """An operation made the first NaN or infinity, forward or backward."""


class MissingExtraError(GradloomError, ImportError):
    """An optional library is not installed; the message gives the command that installs it."""


class RunFolderError(GradloomError, OSError):
    """A run folder is missing, damaged or in the way."""


class RecordingError(GradloomError, RuntimeError):
    """A value of one recording was read in another, or after its own had ended."""


class RecordingWarning(RuntimeWarning):
    """A compiled function cannot be replayed as it is written, or may not do what it seems to."""
