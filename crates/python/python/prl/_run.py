"""Trained runs."""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

from . import _frames, _prl
from ._errors import DataError, UsageError
from ._flags import arguments

#: Fields of a request that are of one session.
_OF_A_SESSION = ("session", "items", "purchased", "kinds")


class Run:
    """A finished run: its weights, its settings and the ids of its items.

    It is pickled by its path, so that another process loads the weights itself.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str = "auto", threads: int | None = None):
        """Opens the run in a directory; its weights are loaded when they are first needed.

        :param device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        :param threads: CPU threads of this process; results do not depend on it.
        :raises DataError: if there is no run.
        """
        self.path = Path(path)
        self._device = device
        self._threads = threads
        if not (self.path / "manifest.json").is_file():
            raise DataError(
                f"{self.path}: no finished run is here; train one, or continue it with resume=True"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_open, (self.path, self._device, self._threads))

    def __fspath__(self) -> str:
        return str(self.path)

    @cached_property
    def _model(self) -> "_prl.Model":
        return _prl.Model(self.path, self._device, self._threads)

    @property
    def name(self) -> str:
        """Name of the model: the first 12 digits of the SHA-256 of its weights."""
        return self._model.name()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest: dataset, model, best step, metrics of the validation, machine."""
        return json.loads((self.path / "manifest.json").read_text())

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved settings."""
        return json.loads(self._model.settings())

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The validations, in their order: the lines of ``metrics.jsonl``."""
        text = (self.path / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    @cached_property
    def items(self) -> list[str]:
        """Raw ids of the items, by index."""
        return self._model.items()

    def recommend(
        self,
        sessions: Any,
        k: int = 20,
        *,
        columns: dict[str, str] | None = None,
        as_frame: bool | str | None = None,
        **fields: Any,
    ) -> Any:
        """Recommends the next items of sessions, which need not be in the training data.

        :param sessions: one of

            - a list of sessions, each a list of item ids, oldest first;
            - a list of requests, each a dict with ``items`` and any field below;
            - a frame with one event a row: ``session``, ``item``, and optionally ``kind`` (click or
              purchase) and ``time`` (else the order of the rows);
            - a frame with one session a row: ``session``, ``items`` (lists), optionally ``kinds``.
        :param k: number of items, 1 to 1000.
        :param columns: names of the frame's columns, ``{"session": "visitor", "item": "sku"}``.
        :param as_frame: ``"pandas"``, ``"polars"``, ``"pyarrow"``, True for the first installed or
            False for a list; by default like the sessions.
        :param fields: fields of a request, as the server has them: the prompt (``mu`` and ``eps``, or
            ``target_return``, ``quantile``, ``max_return``, ``state_quantile``, ``kappa``;
            ``tilt``, ``sequence_wise``), filters (``exclude_seen``, ``exclude``, ``allow``,
            ``where={"category": "shoes", "price": {"max": 50}}``), ``properties``, ``pinned``,
            ``max_per``, ``diversity``, ``fallback``, ``forecast``, ``case``.
        :returns: a frame with the columns ``session``, ``rank`` (from 1), ``item``, ``score`` and the
            properties; or a list of answers, a dict a session, as the server gives them.
        :raises UsageError: for a request out of its limits, with the number of its session from 0.
        :raises DataError: for a frame without sessions.
        """
        for name in fields:
            if name in _OF_A_SESSION:
                raise UsageError(f"{name} is a field of each session; give requests as dicts")
        defaults = _json({"k": k, **{name: value for name, value in fields.items() if value is not None}})
        if _frames.is_frame(sessions):
            if as_frame is False:
                raise UsageError("as_frame=False: sessions of a frame are answered by a frame")
            answers = self._model.answer_frame(_frames.read(sessions, columns), defaults)
            return _frames.write(answers, sessions if as_frame is None else as_frame)
        if columns:
            raise UsageError("columns: names of a frame's columns; the sessions are lists")
        requests = [_request(at, session) for at, session in enumerate(sessions)]
        if not as_frame:
            return json.loads(self._model.answer(_json(requests), defaults))
        is_integer = all(isinstance(item, int) for request in requests for item in request["items"])
        own: list[Any] = [request.get("session", at) for at, request in enumerate(requests)]
        if any(isinstance(name, str) for name in own):
            own = [str(name) for name in own]
        names = _frames.read({"session": own})
        answers = self._model.answer_named(_json(requests), defaults, names, is_integer and bool(requests))
        return _frames.write(answers, as_frame)

    def evaluate(
        self,
        scorer: Callable[[list[Any]], Any] | None = None,
        *,
        split: str = "test",
        batch_size: int = 256,
        **flags: Any,
    ) -> dict[str, Any]:
        """Metrics on a split: each event is a case, ranked among all items (``prl evaluate``).

        :param scorer: another model, which is evaluated in place of this run, on the same cases and
            by the same conventions: a function from a list of B sessions, each an array of item
            indices (int64, oldest first, into :attr:`items`; empty at a session's start), to the
            scores ``[B, items]``, as a numpy array or a PyTorch tensor on the CPU. Ties count
            against the target.
        :param split: ``"train"``, ``"val"`` or ``"test"``; ``"all"`` with ``other_log``.
        :param flags: flags of ``prl evaluate``: conventions (``skip_first``, ``exclude_last``,
            ``exclude_seen``), cutoffs (``k=[5, 10]``), ``data`` if it was moved; without a scorer
            also the prompt (``mu``, ``tilt``, ..), ``cases="cases.parquet"``, ``other_log``, and
            ``curve=["mu=1,2", "tilt=1"]``. Ctrl-C ends an evaluation, but not that of a curve.
        :returns: the report, as ``--json`` prints it: ``all``, ``click`` and ``purchase`` with HR,
            NDCG and more, their intervals, and the conventions.
        """
        if scorer is None:
            given = {"run": self.path, "split": split, "batch_size": batch_size, "device": self._device}
            given |= {"threads": self._threads, **flags}
            return json.loads(_prl.evaluate(arguments("evaluate", given)))
        return self._evaluate_scorer(scorer, split, batch_size, **flags)

    def _evaluate_scorer(
        self,
        scorer: Callable[[list[Any]], Any],
        split: str,
        batch_size: int,
        *,
        skip_first: bool = False,
        exclude_last: bool = False,
        exclude_seen: bool = False,
        k: Sequence[int] | None = None,
        data: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        import numpy

        items = len(self.items)

        def scores(sessions: list[bytes]) -> bytes:
            arrays = [numpy.frombuffer(session, dtype="<u4").astype("int64") for session in sessions]
            returned = numpy.ascontiguousarray(scorer(arrays), dtype="<f4")
            if returned.shape != (len(arrays), items):
                raise UsageError(
                    f"the scorer returned an array of shape {returned.shape}; expected {(len(arrays), items)}"
                )
            return returned.tobytes()

        conventions = (skip_first or self.settings["skip_first"], exclude_last, exclude_seen)
        cutoffs = [int(k)] if isinstance(k, int) else (None if k is None else [int(each) for each in k])
        return json.loads(self._model.evaluate_scorer(scores, split, data, conventions, cutoffs, batch_size))


def _open(path: Path, device: str, threads: int | None) -> Run:
    """Opens a pickled run."""
    return Run(path, device=device, threads=threads)


def _json(value: Any) -> str:
    """JSON of a request; numpy's numbers and arrays as Python's."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except ValueError as error:
        raise UsageError(f"a request has a number that is not finite: {error}") from None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple, Iterable)):
        return list(value)
    raise UsageError(f"{value!r} is not a value of a request")


def _request(at: int, session: Any) -> dict[str, Any]:
    """The request of a session: a dict as it is, else its items."""
    if isinstance(session, dict):
        if "items" not in session:
            raise UsageError(f"session {at}: items is missing; [] is an empty session")
        return {**session, "items": _items(session["items"])}
    if isinstance(session, (str, bytes)) or not hasattr(session, "__iter__"):
        raise UsageError(f"session {at}: {session!r} is no list of items; one session is [[..]]")
    return {"items": _items(session)}


def _items(session: Any) -> list[Any]:
    """The item ids of a session, as Python's integers and texts."""
    if hasattr(session, "tolist"):
        return session.tolist()
    return [item.item() if hasattr(item, "item") else item for item in session]
