"""Keywords as flags of the command line."""

import difflib
import os
from functools import lru_cache
from typing import Any, NamedTuple

from . import _prl
from ._errors import UsageError

#: Flags of the command line that a result in memory has no use for.
_OF_OUTPUT = {"json", "help", "version", "print-space"}


class Flag(NamedTuple):
    """A flag: its name without dashes, whether it takes one or several values, of which type (int, float,
    path or str), which ones if they are few, and its help."""

    name: str
    takes_value: bool
    is_list: bool
    of: str
    values: list[str]
    help: str

    @property
    def keyword(self) -> str:
        """The keyword of the flag; a word of Python gets an underscore."""
        name = self.name.replace("-", "_")
        return name + "_" if name in ("from", "where", "import") and name != "where" else name


@lru_cache(maxsize=None)
def flags(command: str) -> dict[str, Flag]:
    """The flags of a command, by keyword."""
    found = {}
    for parts in _prl.flags(command):
        flag = Flag(*parts)
        if flag.name not in _OF_OUTPUT:
            found[flag.keyword] = flag
    return found


def arguments(command: str, keywords: dict[str, Any], hidden: frozenset[str] = frozenset()) -> list[str]:
    """The arguments of a command for keywords; ``None`` and ``False`` leave a flag out.

    :raises TypeError: for a keyword that is no flag of the command, or is in ``hidden``.
    """
    known = flags(command)
    made: list[str] = []
    for keyword, value in keywords.items():
        flag = known.get(keyword)
        if flag is None or keyword in hidden:
            names = [name for name in known if name not in hidden]
            near = difflib.get_close_matches(keyword, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(names))}"
            raise TypeError(f"{command}: unexpected keyword {keyword!r}{hint}")
        if value is None or value is False:
            continue
        if not flag.takes_value:
            if value is not True:
                raise UsageError(f"{keyword}={value!r}: expected True or False")
            made.append(f"--{flag.name}")
        elif flag.is_list and not isinstance(value, (str, bytes, os.PathLike)) and hasattr(value, "__iter__"):
            for each in _items(value):
                made.append(f"--{flag.name}={_text(keyword, each)}")
        else:
            made.append(f"--{flag.name}={_text(keyword, value)}")
    return made


def _items(value: Any) -> list[Any]:
    """The values of a flag that can be repeated; pairs of a mapping are NAME=VALUE."""
    if isinstance(value, dict):
        return [f"{name}={_text(str(name), each)}" for name, each in value.items()]
    return list(value)


def _text(keyword: str, value: Any) -> str:
    """A value as the command line spells it."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if isinstance(value, bool) or value is None or isinstance(value, (list, dict, set)):
        raise UsageError(f"{keyword}: {value!r} is not a value of a flag")
    # repr gives the shortest digits that a float is read back from.
    return repr(float(value)) if isinstance(value, float) else str(value)
