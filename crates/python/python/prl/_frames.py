"""Frames of pandas, polars, pyarrow and numpy, in and out."""

import importlib.util
from typing import Any

from . import _prl
from ._errors import DataError, UsageError

#: Libraries of frames, in the order in which one is chosen.
LIBRARIES = ("pandas", "polars", "pyarrow")


def is_frame(value: Any) -> bool:
    """Whether a value is a frame: an Arrow stream of columns, or a mapping of columns."""
    return hasattr(value, "__arrow_c_stream__") or isinstance(value, dict) or _library(value) == "pandas"


def read(value: Any, columns: dict[str, str] | None = None) -> "_prl.Frame":
    """The frame of a value, with columns renamed: ``{name here: name in the frame}``."""
    if isinstance(value, _prl.Frame):
        return value
    value = _rename(value, columns or {})
    if isinstance(value, dict):
        return _of_columns(value)
    if _library(value) == "pandas" and importlib.util.find_spec("pyarrow") is None:
        return _of_columns({str(name): value[name].to_numpy() for name in value.columns})
    return _prl.Frame(value)


def _library(value: Any) -> str:
    """The library that a value is of."""
    return type(value).__module__.partition(".")[0]


def _rename(value: Any, columns: dict[str, str]) -> Any:
    """The frame with only the named columns, under their names here; all of them if none is named."""
    if not columns:
        return value
    if isinstance(value, dict):
        names = list(value)
    else:
        names = list(value.column_names if _library(value) == "pyarrow" else value.columns)
    for own, theirs in columns.items():
        if theirs not in names:
            raise DataError(f"the frame has no column {theirs!r} ({own}) but {', '.join(map(str, names))}")
    if isinstance(value, dict):
        return {own: value[theirs] for own, theirs in columns.items()}
    theirs = list(columns.values())
    if _library(value) == "pyarrow":
        return value.select(theirs).rename_columns(list(columns))
    if _library(value) == "polars":
        return value.select(theirs).rename(dict(zip(theirs, columns)))
    renamed = value[theirs]
    return renamed.set_axis(list(columns), axis=1)


def _of_columns(columns: dict[str, Any]) -> "_prl.Frame":
    """The frame of a mapping of arrays or lists, by the first library that makes one."""
    for library in ("polars", "pyarrow"):
        if importlib.util.find_spec(library) is None:
            continue
        if library == "polars":
            import polars

            return _prl.Frame(polars.DataFrame(columns))
        import pyarrow

        return _prl.Frame(pyarrow.table(columns))
    return _prl.Frame.from_columns({name: _plain(name, values) for name, values in columns.items()})


def _plain(name: str, values: Any) -> list[Any]:
    """The values of a column as a list of int, float or str."""
    if getattr(values, "dtype", None) is not None and values.dtype.kind == "M":
        # Times as milliseconds, like those of a log.
        values = values.astype("datetime64[ms]").astype("int64")
    return values.tolist() if hasattr(values, "tolist") else list(values)


def write(frame: "_prl.Frame", like: Any) -> Any:
    """A frame of the library named by ``like``, of the library of the frame ``like``, or, if it is
    ``True``, of the first one that is installed."""
    if isinstance(like, str):
        library = like
        if library not in LIBRARIES:
            raise UsageError(f"as_frame={like!r}: expected True, {', '.join(LIBRARIES)} or a frame's own")
    elif like is True or isinstance(like, dict):
        installed = [name for name in LIBRARIES if importlib.util.find_spec(name) is not None]
        if not installed:
            raise UsageError("as_frame: none of pandas, polars and pyarrow is installed; install one, or leave it out")
        library = installed[0]
    else:
        library = _library(like)
    if library == "polars":
        import polars

        return polars.DataFrame(frame)
    if library == "pandas":
        import pandas

        if importlib.util.find_spec("pyarrow") is None:
            return pandas.DataFrame(frame.to_columns())
        import pyarrow

        return pyarrow.table(frame).to_pandas()
    import pyarrow

    return pyarrow.table(frame)
