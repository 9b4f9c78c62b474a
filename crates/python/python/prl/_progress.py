"""Progress of a training: a bar on a terminal and in a notebook, lines in a log."""

import json
import logging
import sys
from typing import Any, Protocol

_LOGGER = logging.getLogger("prl.train")


class Callback(Protocol):
    """What a callback may have; methods that it lacks are not called.

    An exception ends the training with a checkpoint and is raised by :func:`prl.train`.
    """

    def on_step(self, step: int, total: int, loss: float) -> None:
        """Called with the latest step, at most about twenty times a second."""

    def on_validation(self, record: dict[str, Any], is_best: bool) -> None:
        """Called with each line of the run's ``metrics.jsonl``."""


class Observer:
    """Passes progress on to callbacks; the extension module calls it."""

    def __init__(self, callbacks: list[Any]):
        self._callbacks = callbacks

    def step(self, step: int, total: int, loss: float) -> None:
        """The latest step."""
        for callback in self._callbacks:
            if hasattr(callback, "on_step"):
                callback.on_step(step, total, loss)

    def evaluated(self, record: str, is_best: bool) -> None:
        """A validation, as JSON."""
        values = json.loads(record)
        for callback in self._callbacks:
            if hasattr(callback, "on_validation"):
                callback.on_validation(values, is_best)


class Lines:
    """A log record for each validation."""

    def on_validation(self, record: dict[str, Any], is_best: bool) -> None:
        """Logs a validation."""
        _LOGGER.info("%s", describe(record, is_best))


class Bar:
    """A progress bar by tqdm, and a line above it for each validation."""

    def __init__(self, make: Any):
        self._make = make
        self._bar: Any = None

    def on_step(self, step: int, total: int, loss: float) -> None:
        """Moves the bar."""
        if self._bar is None:
            self._bar = self._make(total=total, unit="step", dynamic_ncols=True)
        self._bar.total = total
        self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        # It draws at most ten times a second.
        self._bar.update(step - self._bar.n)

    def on_validation(self, record: dict[str, Any], is_best: bool) -> None:
        """Prints a validation above the bar."""
        write = self._make.write if self._bar is not None else print
        write(describe(record, is_best))

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()


def describe(record: dict[str, Any], is_best: bool) -> str:
    """A validation in one line."""
    line = f"step {record['step']}  epoch {record['epoch']:.2f}"
    if record.get("loss") is not None:
        line += f"  loss {record['loss']:.4f}"
    validation = record.get("val") or {}
    for kind in ("click", "purchase"):
        scores = validation.get(kind) or {}
        if scores.get("HR@20") is not None:
            line += f"  {kind} HR@20 {scores['HR@20']:.4f}"
    return line + ("  best so far" if is_best else "")


def of(progress: bool | str) -> Any:
    """The callback that shows progress: for ``"auto"`` a bar on a terminal or in a notebook if tqdm
    is installed, else lines in the log ``prl.train``."""
    if progress is False:
        return None
    is_notebook = "ipykernel" in sys.modules
    if progress is True or is_notebook or sys.stderr.isatty():
        try:
            # Widgets where they are installed, text elsewhere.
            from tqdm.autonotebook import tqdm
        except ImportError:
            return Lines()
        return Bar(tqdm)
    return Lines()
