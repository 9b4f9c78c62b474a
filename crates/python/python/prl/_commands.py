"""The commands as functions."""

import json
import os
import subprocess
import sys
from typing import Any, Iterable

from . import _frames, _prl, _progress
from ._dataset import Dataset
from ._errors import DataError, Error, Interrupted, UsageError
from ._flags import arguments, names_of_flags
from ._run import Run

#: Path of a file, a dataset or a run.
PathLike = str | os.PathLike[str]


def prepare(
    log: Any,
    out: PathLike,
    *,
    session: str | None = None,
    time: str | None = None,
    item: str | None = None,
    event: str | None = None,
    value: str | None = None,
    split_column: str | None = None,
    source: str | None = None,
    **flags: Any,
) -> Dataset:
    """Prepares a log as a dataset: filtered, indexed and split (``prl prepare``).

    :param log: a frame (pandas, polars, pyarrow, or a mapping of numpy arrays) with one event a row,
        or the path of a file or folder, whose format ``source`` names; None for a log that other
        flags name, such as ``train`` and ``test``.
    :param out: directory for the dataset; it appears when it is complete.
    :param session: column of the session's or visitor's id.
    :param time: column of the time: datetimes, or numbers in ``time_unit``.
    :param item: column of the item's id: integers or text.
    :param event: column of the event's kind; ``click`` and ``purchase`` list the values of each.
    :param value: column of the value, such as a price.
    :param split_column: column of the split that the log gives: train, val or test.
    :param flags: flags of ``prl prepare``, such as ``session_gap="30m"``, ``split="time"``,
        ``min_item_events=5``, ``purchase=["sale"]``, ``items="items.csv"``, ``seed=1``.
    :raises DataError: for a log that cannot be used; rows of a frame are counted from 1.
    :raises UsageError: for flags that contradict each other.
    """
    roles = {"session": session, "time": time, "item": item, "event": event, "value": value, "split": split_column}
    for role, name in roles.items():
        if name is not None and any(sign in str(name) for sign in ",="):
            raise UsageError(f"{role}={name!r}: a column's name with , or = cannot be mapped; rename the column")
    mapping = ",".join(f"{role}={name}" for role, name in roles.items() if name is not None)
    if mapping:
        if "columns" in flags:
            raise UsageError("columns: give the mapping, or session=, time=, item= and so on")
        flags["columns"] = mapping
    if log is None or isinstance(log, (str, os.PathLike)):
        given = arguments("prepare", {"input": log, "source": source, "out": out, **flags})
        # A damaged Parquet file can end the process that reads it, and Ctrl-C may.
        _run_apart("prepare", [*given, "--json"])
        return Dataset(out)
    if source is not None:
        raise UsageError(f"source={source!r}: a frame has no file format; leave it out")
    given = arguments("prepare", {"out": out, **flags}, hidden=frozenset({"input", "train", "clicks", "buys", "append"}))
    _prl.prepare_frame(_frames.read(log), given)
    return Dataset(out)


def command(name: str, *positional: PathLike, **flags: Any) -> Any:
    """Runs any command of the command line in a process of its own: ``prl.command("synth",
    like="shop", out="shop")``, ``prl.command("export", run, to="exported")``,
    ``prl.command("models list", registry="models")``.

    :param name: the command, with its subcommand if it has one.
    :param positional: arguments without a flag.
    :returns: the output: a value if the command has ``--json``, else text.
    """
    given = [*map(os.fspath, positional), *arguments(name, flags)]
    if "json" not in names_of_flags(name):
        return _run_apart(name, given)
    return json.loads(_run_apart(name, [*given, "--json"]))


def _run_apart(name: str, given: list[str]) -> str:
    """Runs a command in a process of its own; its standard output."""
    tokens = [sys.executable, "-m", "prl", *name.split(), *given]
    with subprocess.Popen(tokens, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            output, errors = child.communicate()
        except BaseException:
            child.terminate()
            raise
    if child.returncode == 0:
        return output
    message = errors.strip().rpartition("error: ")[2] or f"{name} ended with {child.returncode}"
    if child.returncode == 130:
        raise Interrupted(message)
    raise {2: UsageError, 3: DataError}.get(child.returncode, Error)(message)


def train(
    data: PathLike | Dataset | None,
    out: PathLike,
    *,
    callbacks: Iterable[Any] = (),
    progress: bool | str = "auto",
    **flags: Any,
) -> Run:
    """Trains a recommender (``prl train``).

    Ctrl-C, or the stop button of a notebook, ends it with a checkpoint and raises
    :class:`Interrupted`; the same call with ``resume=True`` continues to the same bits as an
    uninterrupted training.

    :param data: the prepared dataset; None with ``config``, or to resume.
    :param out: directory for the run.
    :param callbacks: objects with any of the methods of :class:`Callback`.
    :param progress: True for a bar, False for nothing, ``"auto"`` for a bar on a terminal or in a
        notebook and lines in the log ``prl.train`` elsewhere.
    :param flags: flags of ``prl train``, such as ``recipe="paper"``, ``encoder="gru"``,
        ``method="prl"``, ``epochs=8``, ``seed=1``, ``max_steps=100``, ``resume=True``, ``threads=2``.
    :raises UsageError: for settings that contradict each other.
    :raises DataError: for a dataset that cannot be used.
    """
    given = arguments("train", {"data": data, "out": out, **flags})
    shown = _progress.of(progress)
    observer = _progress.Observer([*([shown] if shown else []), *callbacks])
    try:
        _prl.train(given, observer)
    finally:
        if hasattr(shown, "close"):
            shown.close()
    return Run(out, device=flags.get("device") or "auto", threads=flags.get("threads"))


def tune(data: PathLike | Dataset, out: PathLike, **flags: Any) -> dict[str, Any]:
    """Searches for the best settings of a training (``prl tune``), by a metric of the validation.

    Each trial is a process. The best finished run is ``Run(out / "best")``.

    :param flags: flags of ``prl tune``, such as ``budget="10m"``, ``trials=20``,
        ``space="space.toml"``, ``select="ndcg@20"``, ``resume=True``.
    :returns: ``metric``, ``best`` (number of the best trial) and ``trials``.
    """
    given = arguments("tune", {"data": data, "out": out, **flags})
    return json.loads(_prl.tune(given, sys.executable))


def ope(log: PathLike, **flags: Any) -> dict[str, Any]:
    """Estimates what each arm of a server's experiment returns (``prl ope``): IPS, SNIPS and a doubly
    robust estimate with intervals.

    :param log: directory of the experiment's log.
    :param flags: flags of ``prl ope``, such as ``policy=["arm:high"]``, ``reward="click=0.2,purchase=1"``.
    :raises DataError: for a log that names no probabilities, or does not follow them.
    """
    return json.loads(_prl.ope(arguments("ope", {"log": log, **flags})))
