"""How does the service start on a port, with its workers, and end?"""

import errno
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from api.accepting import BACKLOG
from api.errors import PortInUseError, ServiceError
from api.settings import from_environment, hand_to_workers
from ingest.checks import ChecksConfig, KindsConfig
from ingest.outbox import Outbox
from ingest.pseudonyms import Pseudonyms
from ingest.workspace import Workspace
from ranker.bundle import checked_manifest, live_folder

log = logging.getLogger(__name__)

STOP_SECONDS = 10
"""Time for requests under way to end after SIGTERM."""


def serve(
    workspace_path: Path | str,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    *,
    announce: Callable[[str], None] = log.info,
) -> None:
    """Serve until SIGTERM or SIGINT, then return; `announce` is told the URL once the port is ours.

    What can be known wrong beforehand ends it before any worker starts: no workspace, no bundle that can serve
    (BundleError), a damaged outbox (OutboxError), a wrong setting or no key for pseudonyms (SettingsError), a port in
    use (PortInUseError). The socket is bound here and handed on, so that nobody takes the port in between.
    """
    workspace = Workspace.open(workspace_path)
    workspace.section("checks", ChecksConfig)
    workspace.section("kinds", KindsConfig)
    checked_manifest(live_folder(workspace.bundles_path))
    Pseudonyms.of_workspace(workspace)
    Outbox.open(workspace.outbox_path).close()
    from_environment()
    listening = listen(host, port)
    hand_to_workers(workspace.root)
    name = f"[{host}]" if ":" in host else host
    announce(f"http://{name}:{listening.getsockname()[1]}")
    _run(listening, workers)


def listen(host: str, port: int) -> socket.socket:
    """Bind a port; PortInUseError or ServiceError with one sentence otherwise."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns off Nagle's algorithm only on sockets that say they are TCP; with it
    # on, an answer in two writes waits 40 ms for the client's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        # Listening already makes a second service on this port fail, even before our workers are up.
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"{host}:{port}: wanted a free port, got one in use; stop what listens there or pass --port"
            ) from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ServiceError(f"{host}:{port}: cannot listen there: {reason}; pass --host and --port") from error
    return listening


def _run(listening: socket.socket, workers: int) -> None:
    import uvicorn

    from api.supervisor import Supervisor

    config = uvicorn.Config(
        "api.app:app_from_environment",
        factory=True,
        workers=workers,
        access_log=False,
        loop="api.accepting:SharingLoop" if workers > 1 else "auto",
        log_level=from_environment().log_level,
        timeout_graceful_shutdown=STOP_SECONDS,
        # A worker that loads a large bundle holds the interpreter longer than the five seconds of the default.
        timeout_worker_healthcheck=60,
    )
    try:
        if workers > 1:
            Supervisor(config, sockets=[listening]).run()
        else:
            # uvicorn raises the signal again once it has stopped; ended as asked is not killed.
            signal.signal(signal.SIGTERM, lambda number, frame: None)
            uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        listening.close()
