"""`tunewright serve`: the only module that imports the server application, and only when the command runs."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from tunewright.cli.problems import Refused, field_lines
from tunewright.errors import TunewrightError
from tunewright.uncollected import uncollected

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

# Standard output of `serve` is one line: this, and the address.
READY = "Tunewright is ready: "
# An event stream never ends by itself; it is cut off after this many seconds.
GRACE_SECONDS = 1
WATCH_SECONDS = 0.1
# A connection whose other end takes nothing of what is sent is cut off after this many seconds.
UNREAD_SECONDS = 60

_NOT_ON_COMMAND_LINES = (
    "database-url: it holds a password, which everybody on this machine could read in the list of processes; "
    "set TUNEWRIGHT_DATABASE_URL instead, or leave the password out and keep it in ~/.pgpass"
)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.", show_default="8080")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Home of the store and of checkpoints.", show_default="~/.tunewright")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="A running Ray cluster to use.")] = None,
    ray_cpus: Annotated[int | None, typer.Option(min=1, help="Processors for trials.", show_default="all")] = None,
    ray_temp_dir: Annotated[Path | None, typer.Option(help="Ray's sockets and logs; a short path.")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL of the store.", show_default="SQLite in the data directory")
    ] = None,
    checkpoint_url: Annotated[
        str | None, typer.Option(help="fsspec URL of checkpoints.", show_default="in the data directory")
    ] = None,
    import_path: Annotated[
        list[Path] | None,
        typer.Option(help="Where workloads named module:attribute are found; repeatable.", show_default="."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM file: speak HTTPS with it.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file: its key.", show_default=False)] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")] = None,
    log_format: Annotated[
        str | None, typer.Option(help="text, or json: one object a line.", show_default="text")
    ] = None,
) -> None:
    """Run the service. Options override the environment (TUNEWRIGHT_PORT and so on)."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "ray_address": ray_address,
        "ray_cpus": ray_cpus,
        "ray_temp_dir": ray_temp_dir,
        "database_url": database_url,
        "checkpoint_url": checkpoint_url,
        "import_paths": import_path,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "log_level": log_level,
        "log_format": log_format,
    }
    try:
        with uncollected():
            from service.app import DataDirectoryError, create_app, lock_data_directory
            from service.exposure import Exposed, require_encryption
            from service.logs import set_up
            from service.preflight import ray_directory
            from service.settings import ServiceSettings

            gc.freeze()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tunewright"):
            raise
        raise Refused(
            f"the server's packages are not installed ({error.name} is missing): pip install 'tunewright[server]'"
        ) from None
    try:
        settings = ServiceSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise Refused("\n".join(field_lines(error))) from None
    set_up(settings.logs())
    if database_url is not None and settings.store_has_password:
        raise Refused(_NOT_ON_COMMAND_LINES)
    # Ray says so too, but only once the service runs, and would be asked again for ever.
    if settings.ray_address is None and (hindrance := next(ray_directory(settings), None)) is not None:
        raise Refused(f"ray_temp_dir: {hindrance.seen}; {hindrance.remedy}")
    try:
        require_encryption(settings)
        lock_data_directory(settings.data_dir).close()
        with listen(settings.host, settings.port) as listener:
            _run(create_app(settings), listener, settings.tls_certificate, settings.tls_key)
    except (DataDirectoryError, Exposed) as error:
        raise Refused(str(error)) from None


def listen(host: str, port: int) -> socket.socket:
    """A socket on which clients can connect.

    Raises:
        Refused: the host or the port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        number = error.errno or 0
        # What resolves names counts its errors below 0.
        if number == errno.EADDRNOTAVAIL or number < 0:
            reason = (error.strerror or str(error)).partition(" (while")[0]
            raise Refused(
                f"host {host} cannot be used ({reason}); give an address of this machine with --host"
            ) from None
        raise Refused(
            f"port {port} on {host} cannot be used ({os.strerror(number)}); "
            "choose another with --port, or let --port 0 take a free one"
        ) from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit it. Who follows events and never reads them would else keep a full socket for ever.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    return listener


def _run(app: FastAPI, listener: socket.socket, certificate: Path | None, key: Path | None) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    if certificate is not None:
        _require_certificate(config)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(app, uvicorn.Server(config), listener))


def _require_certificate(config: uvicorn.Config) -> None:
    try:
        config.load()
    except (OSError, ValueError) as error:
        # An SSL error is one of the operating system's.
        raise Refused(
            f"tls_certificate, tls_key: cannot be used ({error}); give a PEM certificate and its key without a password"
        ) from None


async def _serve(app: FastAPI, server: uvicorn.Server, listener: socket.socket) -> None:

    def end(_signal: int, _frame: Any) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it serves, and calls these ones afterwards.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    async with AsyncExitStack() as stack:
        await _start_up(app, stack)
        announcer = asyncio.create_task(_announce(app, server, listener))
        await server.serve(sockets=[listener])
        announcer.cancel()
        await asyncio.gather(announcer, return_exceptions=True)
    if announcer.done() and not announcer.cancelled():
        announcer.result()


async def _start_up(app: FastAPI, stack: AsyncExitStack) -> None:
    try:
        await stack.enter_async_context(app.router.lifespan_context(app))
    except TunewrightError:
        raise
    except Exception as error:
        logging.getLogger(__name__).debug("start-up failed", exc_info=error)
        first = (str(error).splitlines() or [""])[0]
        raise TunewrightError(f"the service cannot start: {type(error).__name__}: {first}") from error


async def _announce(app: FastAPI, server: uvicorn.Server, listener: socket.socket) -> None:
    """Print the address once the service can work; end the server when it never will."""
    conductor = app.state.services.conductor
    # Now: a server that is asked to end closes it.
    host, port = listener.getsockname()[:2]
    while conductor.problem is not None:
        if not conductor.alive:
            server.should_exit = True
            raise TunewrightError(f"the service cannot start: {conductor.problem}")
        await asyncio.sleep(WATCH_SECONDS)
    scheme = "https" if server.config.is_ssl else "http"
    print(f"{READY}{scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
