"""Exceptions, by the kinds of failure that the command line's exit codes tell apart."""


class Error(Exception):
    """Failure of the machine, of a file's writing, or of another kind (exit code 1)."""


class UsageError(Error, ValueError):
    """Invalid arguments or settings (exit code 2)."""


class DataError(Error, ValueError):
    """A log, dataset, run or file that cannot be used (exit code 3)."""


class ForkError(Error, RuntimeError):
    """A call in a process forked from one in which prl had started its threads."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a training or a search, after a checkpoint: ``resume=True`` continues it."""
