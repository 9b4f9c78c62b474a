"""Keywords as flags of the command line."""

import difflib
import inspect
import json
import keyword
import os
from functools import lru_cache
from typing import Any, NamedTuple

from . import _prl
from ._errors import UsageError

#: Flags of the command line that a result in memory has no use for.
_OF_OUTPUT = {"json", "help", "version", "print-space"}


class Flag(NamedTuple):
    """A flag: its name without dashes, whether it takes one or several values, what separates them in a
    text, their type (int, float, path or str), which ones if they are few, and its help."""

    name: str
    takes_value: bool
    is_list: bool
    separator: str | None
    of: str
    values: list[str]
    help: str

    @property
    def is_boolean(self) -> bool:
        """Whether its values are true and false."""
        return self.values == ["true", "false"]

    @property
    def keyword(self) -> str:
        """The keyword of the flag; a word of Python gets an underscore."""
        name = self.name.replace("-", "_")
        return f"{name}_" if keyword.iskeyword(name) else name


@lru_cache(maxsize=None)
def names_of_flags(command: str) -> frozenset[str]:
    """Names of all flags of a command."""
    return frozenset(flag["name"] for flag in json.loads(_prl.flags(command)))


@lru_cache(maxsize=None)
def flags(command: str) -> dict[str, Flag]:
    """The flags of a command, by keyword."""
    found = {}
    for record in json.loads(_prl.flags(command)):
        flag = Flag(**record)
        if flag.name not in _OF_OUTPUT:
            found[flag.keyword] = flag
    return found


def arguments(command: str, keywords: dict[str, Any], hidden: frozenset[str] = frozenset()) -> list[str]:
    """The arguments of a command for keywords; ``None`` leaves a flag out.

    :raises TypeError: for a keyword that is no flag of the command, or is in ``hidden``.
    """
    known = flags(command)
    made: list[str] = []
    for name, value in keywords.items():
        flag = known.get(name)
        if flag is None or name in hidden:
            names = [known_name for known_name in known if known_name not in hidden]
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(names))}"
            raise TypeError(f"{command}: unexpected keyword {name!r}{hint}")
        if value is None:
            continue
        if not flag.takes_value:
            if not isinstance(value, bool):
                raise UsageError(f"{name}={value!r}: expected True or False")
            if value:
                made.append(f"--{flag.name}")
        elif isinstance(value, bool) and flag.is_boolean:
            made.append(f"--{flag.name}={str(value).lower()}")
        elif flag.is_list and not isinstance(value, (str, bytes, os.PathLike)) and hasattr(value, "__iter__"):
            for each in _items(value):
                text = _text(name, each)
                if flag.separator is not None and flag.separator in text:
                    raise UsageError(f"{name}: {text!r} holds {flag.separator!r}, which separates values")
                made.append(f"--{flag.name}={text}")
        else:
            made.append(f"--{flag.name}={_text(name, value)}")
    return made


def documented(command: str, function: Any) -> Any:
    """The function, whose docstring lists the flags of a command as keywords."""
    lines = [inspect.cleandoc(function.__doc__ or ""), "", f"Keywords of ``prl {command}``:", ""]
    for name, flag in flags(command).items():
        of = " | ".join(flag.values) or flag.of
        lines.append(f"- {name}{f' ({of})' if flag.takes_value else ''}: {' '.join(flag.help.split())}")
    function.__doc__ = "\n".join(lines)
    return function


def _items(value: Any) -> list[Any]:
    """The values of a flag that can be repeated; pairs of a mapping are NAME=VALUE."""
    if isinstance(value, dict):
        return [f"{name}={_text(str(name), each)}" for name, each in value.items()]
    return list(value)


def _text(name: str, value: Any) -> str:
    """A value as the command line spells it."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if isinstance(value, bool) or value is None or isinstance(value, (list, dict, set)):
        raise UsageError(f"{name}: {value!r} is not a value of a flag")
    # repr gives the shortest digits that a float is read back from.
    return repr(float(value)) if isinstance(value, float) else str(value)
