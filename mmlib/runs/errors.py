"""What a run raises."""


class RunError(RuntimeError):
    """A run that cannot start or did not finish; the message names notebook, parameter or cell."""


class Busy(RunError):
    """Another process executes this run."""


class CellError(RunError):
    """A cell failed; cell is its number as the notebook shows it."""

    def __init__(self, message: str, cell: int | None = None):
        super().__init__(message)
        self.cell = cell
