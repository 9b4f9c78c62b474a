"""Prepared datasets."""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from . import _frames, _prl


class Dataset:
    """A prepared dataset: events of sessions in the order of time, split into train, val and test.

    It is pickled by its path.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Opens the dataset in a directory.

        :raises DataError: if there is none, or it is damaged.
        """
        self.path = Path(path)
        self._data = _prl.Dataset(self.path)

    def __repr__(self) -> str:
        counts = self.manifest["counts"]["after_length_filter"]
        return f"Dataset({str(self.path)!r}): {counts['sessions']} sessions, {counts['items']} items"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Dataset, (self.path,))

    def __fspath__(self) -> str:
        return str(self.path)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest: the dataset's id, the log's counts and figures, the sizes of the splits."""
        return json.loads(self._data.manifest())

    @cached_property
    def items(self) -> list[str]:
        """Raw ids of the items, by index."""
        return self._data.items()

    def events(self, as_frame: bool | str = True) -> Any:
        """The events, session by session, oldest first.

        Columns: ``session`` (number of the session, u32), ``item`` (index, u32), ``kind`` (click or
        purchase), ``split`` (train, val or test) and ``time`` (milliseconds since 1970, i64).

        :param as_frame: ``"pandas"``, ``"polars"`` or ``"pyarrow"``; True for the first installed.
        """
        return _frames.write(self._data.events(), as_frame)
