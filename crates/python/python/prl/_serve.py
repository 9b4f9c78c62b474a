"""A server in a process of its own."""

import http.client
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import weakref
from typing import Any

from ._errors import DataError, Error, UsageError
from ._flags import arguments

_LOGGER = logging.getLogger("prl.serve")
#: Seconds that a server has to answer its requests when it is stopped.
_DRAINING = 30


class Server:
    """A running server; a context that stops it."""

    def __init__(self, process: subprocess.Popen[str], url: str):
        self._process = process
        self._log = threading.Thread(target=_log, args=(process.stderr,), daemon=True)
        self._log.start()
        # A server that nobody stops ends with the interpreter.
        self._finalizer = weakref.finalize(self, _end, process)
        #: Address: the page, and the root of ``/v1``.
        self.url = url

    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def request(
        self, path: str, body: Any = None, method: str | None = None, *, key: str | None = None, timeout: float = 30
    ) -> Any:
        """Sends a request and returns the response's JSON: ``server.request("/v1/recommend",
        {"items": ["a"], "k": 5})``; text that is no JSON, such as that of ``/metrics``, as it is.

        :param key: the API key, for a server with keys.
        :param timeout: seconds to wait for the response.
        :raises UsageError: for a request that the server refuses (4xx), with its problem's text.
        :raises Error: for another failure of the server.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            # The server is on this machine: no proxy.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=timeout) as response:
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                message = json.loads(text).get("detail", text)
            except ValueError:
                message = text
            raise (UsageError if error.code < 500 else Error)(f"{path}: {error.code}: {message}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Error(f"{self.url}: {getattr(error, 'reason', error)}; is the server running?") from None
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    def stop(self) -> None:
        """Stops the server when it has answered its requests."""
        self._finalizer()
        if self._process.stderr is not None:
            # The end of the process is that of its log.
            self._log.join()
            self._process.stderr.close()


def _end(process: "subprocess.Popen[str]") -> None:
    """Ends a server when it has answered its requests."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_DRAINING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(run: str | os.PathLike[str] | None = None, *, addr: str = "127.0.0.1:0", **flags: Any) -> Server:
    """Starts a server (``prl serve``) and returns when it is ready.

    :param run: the run; None with ``registry``.
    :param addr: address and port; port 0 is a free one.
    :param flags: flags of ``prl serve``, such as ``state="state"``, ``experiment="arms.toml"``,
        ``experiment_log="log"``.
    """
    given = arguments("serve", {"run": run, "addr": addr, "log_format": "json", **flags})
    process = subprocess.Popen(
        [sys.executable, "-m", "prl", "serve", *given],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # The records "listening" and "ready" are read below.
        env={**os.environ, "PRL_LOG": "info"},
        # Ctrl-C in this process is not for the server.
        start_new_session=True,
    )
    assert process.stderr is not None
    last = url = ""
    try:
        for line in process.stderr:
            record = _record(line)
            url = record.get("url", url) if record.get("message") == "listening" else url
            if record.get("message") == "ready":
                return Server(process, url)
            last = line.strip() or last
    except BaseException:
        # Ctrl-C while the model is loaded.
        _end(process)
        raise
    process.stderr.close()
    code = process.wait()
    message = last.removeprefix("error: ") or f"the server ended with {code}"
    raise {2: UsageError, 3: DataError}.get(code, Error)(message)


def _record(line: str) -> dict[str, Any]:
    """The record of a line; empty for a line that is no JSON object."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _log(lines: Any) -> None:
    """Passes the server's log on."""
    for line in lines:
        record = _record(line)
        level = logging.getLevelName(str(record.get("level", "INFO")).replace("WARN", "WARNING"))
        _LOGGER.log(level if isinstance(level, int) else logging.INFO, "%s", record.get("message", line.strip()))
