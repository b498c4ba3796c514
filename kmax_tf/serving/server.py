"""The server as a process: binds an address, serves until it is told to end, drains."""

from __future__ import annotations

import pathlib
import signal
import socket
from typing import Any

import uvicorn

from kmax_tf.errors import UserError
from kmax_tf.serving.app import build_app
from kmax_tf.serving.limits import Limits
from kmax_tf.serving.logs import log, log_as_json
from kmax_tf.serving.metrics import Metrics
from kmax_tf.serving.versions import Versions

# Between two looks for a newer version.
_LOOK_SECONDS = 2.0
_BACKLOG = 512


def serve(folder: pathlib.Path, name: str, address: tuple[str, int], limits: Limits) -> None:
    """Serves an export until SIGTERM or SIGINT; what is under way then is answered first.

    Args:
      folder: of versions, or of one.
      name: of the model, in paths.
      address: host and port; port 0 takes any that is free.
      limits: of requests.

    Raises:
      UserError: the address is taken, or there is no model.
      KeyboardInterrupt: it was ended by SIGINT.
    """
    with _bind(address) as listener:
        log_as_json()
        metrics = Metrics()
        versions = Versions(folder, metrics)
        versions.watch(_LOOK_SECONDS)
        config = uvicorn.Config(
            build_app(name, versions, limits, metrics),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(limits.seconds) + 1,
        )
        server = uvicorn.Server(config)

        def end(number: int, frame: Any) -> None:
            server.should_exit = True

        # Until uvicorn has a handler of its own; once it has drained, it raises the signal again.
        signal.signal(signal.SIGTERM, end)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        listener.listen(_BACKLOG)
        print(f"{name}, version {versions.current.version}: http://{shown}:{port}/", flush=True)
        server.run(sockets=[listener])
    log("drained")


def _bind(address: tuple[str, int]) -> socket.socket:
    host, port = address
    listener = None
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; give another --host or "
            "--port"
        ) from error
    return listener
