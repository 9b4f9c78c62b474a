"""Writes `python/prl/__init__.pyi`: the package's signatures with the flags of the command line.

    python stubs.py            # writes the file
    python stubs.py --check    # fails if it is not up to date

The package must be importable: installed, or with the extension module in its folder.
"""

import ast
import sys
from pathlib import Path

import prl
from prl import _flags

STUBS = Path(__file__).parent / "python/prl/__init__.pyi"

HEAD = '''\
"""Types of the package; written by stubs.py."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

PathLike = str | os.PathLike[str]
AsFrame = bool | Literal["pandas", "polars", "pyarrow"]
Scorer = Callable[[list[Any]], Any]

__version__: str

class Error(Exception): ...
class UsageError(Error, ValueError): ...
class DataError(Error, ValueError): ...
class ForkError(Error, RuntimeError): ...
class Interrupted(KeyboardInterrupt): ...

class Callback(Protocol):
    def on_step(self, step: int, total: int, loss: float) -> None: ...
    def on_validation(self, record: dict[str, Any], is_best: bool) -> None: ...

class Dataset:
    path: Path
    def __init__(self, path: PathLike) -> None: ...
    def __fspath__(self) -> str: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def items(self) -> list[str]: ...
    def events(self, as_frame: AsFrame = True) -> Any: ...

class Run:
    path: Path
    def __init__(self, path: PathLike, *, device: str = "auto", threads: int | None = None) -> None: ...
    def __fspath__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def metrics(self) -> list[dict[str, Any]]: ...
    @property
    def items(self) -> list[str]: ...
    def recommend(
        self,
        sessions: Any,
        k: int = 20,
        *,
        columns: Mapping[str, str] | None = None,
        as_frame: AsFrame | None = None,
        mu: float | None = None,
        eps: float | None = None,
        target_return: float | None = None,
        quantile: float | None = None,
        max_return: bool | None = None,
        state_quantile: float | None = None,
        kappa: float | None = None,
        tilt: float | None = None,
        sequence_wise: bool | None = None,
        case: int | None = None,
        forecast: bool | None = None,
        exclude_seen: bool | None = None,
        exclude: Sequence[Any] | None = None,
        allow: Sequence[Any] | None = None,
        where: Mapping[str, Any] | None = None,
        properties: Sequence[str] | None = None,
        pinned: Sequence[Any] | None = None,
        max_per: Mapping[str, int] | None = None,
        diversity: float | None = None,
        fallback: bool | None = None,
    ) -> Any: ...
'''


SERVER = '''
class Server:
    url: str
    def __enter__(self) -> "Server": ...
    def __exit__(self, *_: object) -> None: ...
    def request(
        self, path: str, body: Any = None, method: str | None = None, *, key: str | None = None, timeout: float = 30
    ) -> Any: ...
    def stop(self) -> None: ...

'''


def typed(flag: _flags.Flag) -> str:
    """The type of a flag's keyword."""
    if not flag.takes_value or flag.is_boolean:
        return "bool"
    one = {"int": "int", "float": "float", "path": "PathLike", "str": "PathLike | float"}[flag.of]
    if flag.values:
        one = f"Literal[{', '.join(repr(value) for value in flag.values)}]"
    if flag.is_list:
        return f"{one} | Sequence[{one}] | Mapping[str, Any]"
    return one


def signature(name: str, head: list[str], command: str, result: str, indent: str, without: set[str]) -> str:
    """A function with the keywords of a command behind its own parameters."""
    lines = [f"{indent}def {name}("]
    for parameter in head:
        lines.append(f"{indent}    {parameter},")
    for keyword, flag in _flags.flags(command).items():
        if keyword not in without:
            lines.append(f"{indent}    {keyword}: {typed(flag)} | None = None,")
    lines.append(f"{indent}) -> {result}: ...")
    return "\n".join(lines) + "\n"


def stubs() -> str:
    """The text of the file."""
    evaluate = ["self", "scorer: Scorer | None = None", "*", 'split: Literal["train", "val", "test", "all"] = "test"']
    prepare = ["log: Any", "out: PathLike", "*"]
    for role in ("session", "time", "item", "event", "value", "split_column"):
        prepare.append(f"{role}: str | None = None")
    train = ["data: PathLike | Dataset | None", "out: PathLike", "*"]
    train += ["callbacks: Iterable[Any] = ()", 'progress: bool | Literal["auto"] = "auto"']
    search = ["data: PathLike | Dataset", "out: PathLike", "*"]
    any_dict = "dict[str, Any]"
    parts = [
        HEAD,
        signature("evaluate", evaluate, "evaluate", any_dict, "    ", {"run", "split"}),
        "\n",
        signature("prepare", prepare, "prepare", "Dataset", "", {"input", "out"}),
        signature("train", train, "train", "Run", "", {"data", "out"}),
        signature("tune", search, "tune", any_dict, "", {"data", "out"}),
        SERVER,
        signature("serve", ["run: PathLike | Run | None = None", "*", 'addr: str = "127.0.0.1:0"'], "serve", "Server", "", {"run", "addr"}),
        "def command(name: str, *positional: PathLike | Run | Dataset, **flags: Any) -> Any: ...\n",
        signature("ope", ["log: PathLike", "*"], "ope", any_dict, "", {"log"}),
    ]
    return "".join(parts)


def main() -> int:
    """Writes or checks the file."""
    text = stubs()
    ast.parse(text)
    if "--check" not in sys.argv:
        STUBS.write_text(text)
        return 0
    stored = STUBS if STUBS.is_file() else Path(prl.__file__).with_suffix(".pyi")
    if stored.read_text() == text:
        return 0
    print(f"{stored}: not up to date; run `python stubs.py`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
