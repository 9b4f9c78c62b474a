"""A session recommender that can be asked for value.

A log of clicks and purchases becomes a prepared dataset (:func:`prepare`), a dataset a trained run
(:func:`train`), and a run recommends, is evaluated and served::

    data = prl.prepare(log, "data", session="visitor", time="at", item="sku")
    run = prl.train(data, "run")
    run.recommend([["a", "b"]], k=5)

Keywords beyond those listed are flags of the command of the same name, with ``_`` for ``-``:
``prl.train(..., max_steps=100)`` is ``prl train --max-steps 100``, and gives the same bits.
"""

from ._commands import command, ope, prepare, train, tune
from ._dataset import Dataset
from ._errors import DataError, Error, ForkError, Interrupted, UsageError
from ._flags import documented
from ._prl import __version__
from ._progress import Callback
from ._run import Run
from ._serve import Server, serve

for _command, _function in (
    ("prepare", prepare),
    ("train", train),
    ("tune", tune),
    ("ope", ope),
    ("serve", serve),
    ("evaluate", Run.evaluate),
):
    documented(_command, _function)
del _command, _function

__all__ = [
    "Callback",
    "DataError",
    "Dataset",
    "Error",
    "ForkError",
    "Interrupted",
    "Run",
    "Server",
    "UsageError",
    "__version__",
    "command",
    "ope",
    "prepare",
    "serve",
    "train",
    "tune",
]
