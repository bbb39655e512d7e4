"""Runs a server: binds the port, loads the model, stops on a signal, and answers what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import ssl
from typing import Any

from aiohttp import web

from maskformer_model.serve.app import Server
from maskformer_model.serve.guards import memory
from maskformer_model.serve.guards.connections import Connections
from maskformer_model.serve.guards.log_limit import LogLimit
from maskformer_model.serve.settings import ServerSettings

_LINGERING_S = 2.0  # So long the rest of a refused body is read, so that its sender sees the refusal.
_HANDSHAKE_S = 10.0
_LAST_S = 1.0  # The part of the grace for requests that are ended at its end.


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """Returns what TLS needs; None where the server has no certificate.

    Raises:
        ValueError: if certificate and key cannot be read, or do not belong together.
    """
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:  # SSLError is one.
        where = f"{settings.certificate} and {settings.key}"
        raise ValueError(f"`certificate` and `key` must be PEM files of one pair. Received {where}: {error}") from error
    return context


def bind(host: str, port: int, port_setting: str = "port") -> socket.socket:
    """Returns a socket that is bound to the address.

    Args:
        host: A name or an IP address of this machine.
        port: The port; 0 takes a free one.
        port_setting: The name of the port's setting, for the errors.

    Raises:
        ValueError: if the host is not this machine's, or the port is taken or not allowed to this user.
        OSError: if the system refuses for another reason.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:  # The second is of names that DNS does not allow.
        raise ValueError(_wrong_host(host, getattr(error, "strerror", None) or error)) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(1)  # Only now a port that another socket listens on is an error everywhere.
    except OSError as error:
        bound.close()
        where = f"{host}:{port}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"`{port_setting}` must be free. {where}") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise ValueError(_wrong_host(host, error.strerror)) from error
        if error.errno == errno.EACCES:
            rule = f"`{port_setting}` must be a port that this user may open. Choose another, above 1023"
            raise ValueError(f"{rule}. {where}") from error
        raise
    return bound


def _wrong_host(host: str, reason: object) -> str:
    return f"`host` must be a name or an IP address of this machine. {host}: {reason}"


def serve(settings: ServerSettings) -> None:
    """Serves until a signal says to stop.

    Raises:
        ValueError: if a setting does not fit this machine: no model, another machine's host, a taken port, a
            certificate that is none.
    """
    settings.require_model_dir()
    settings.read_token()
    tls = tls_context(settings)
    with contextlib.closing(bind(settings.host, settings.port)) as bound:
        for handler in logging.getLogger().handlers:
            handler.addFilter(LogLimit())
        memory.give_back_large_blocks()
        asyncio.run(_Life(settings, bound, tls).run())


class _Life:
    def __init__(self, settings: ServerSettings, bound: socket.socket, tls: ssl.SSLContext | None):
        self._settings = settings
        self._bound = bound
        self._tls = tls
        self._stop = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop_signal, self._told_to_stop)
        server = Server(self._settings)
        runner = web.AppRunner(
            server.app(),
            access_log=None,
            auto_decompress=False,  # `Bodies` unpacks, beside the event loop.
            handler_cancellation=True,  # Nobody waits for the answer of a caller who has gone.
            keepalive_timeout=self._settings.idle_timeout_s,
            lingering_time=_LINGERING_S,
            shutdown_timeout=_LAST_S / 2,
        )
        await runner.setup()
        assert runner.server is not None
        connections = Connections(
            runner.server,
            max_connections=memory.allow_connections(self._settings.max_connections),
            idle_timeout_s=self._settings.idle_timeout_s,
        )
        listening = await loop.create_server(
            connections,
            sock=self._bound,
            ssl=self._tls,
            backlog=self._settings.max_connections,
            ssl_handshake_timeout=_HANDSHAKE_S if self._tls else None,
        )
        grpc_server = await self._start_grpc(server)
        scheme, port = "https" if self._tls else "http", self._bound.getsockname()[1]
        print(f"{scheme}://{_in_address(self._settings.host)}:{port}/", flush=True)
        try:
            await self._stop.wait()
        finally:
            listening.close()
            grpc_end = asyncio.create_task(grpc_server.stop(self._settings.grace_s - _LAST_S)) if grpc_server else None
            await self._drain(server, runner, connections)
            if grpc_end:
                await grpc_end
            await runner.cleanup()

    async def _start_grpc(self, server: Server) -> Any:
        settings = self._settings
        if settings.grpc_port is None:
            return None
        from maskformer_model.serve.kserve.grpc_service import GrpcService

        service = GrpcService(settings, server.prediction, server.bodies, server.health, server.access)
        try:
            grpc_server, port = await service.start()
        except RuntimeError:
            # gRPC does not say why it could not listen. A plain socket fails for the same reason, and says it.
            bind(settings.host, settings.grpc_port, "grpc_port").close()
            raise
        print(f"grpc://{_in_address(settings.host)}:{port}", flush=True)
        return grpc_server

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            logging.error("Told to stop a second time: what is in flight is given up.")
            os._exit(1)  # The model's process ends with its pipe.
        logging.info("Told to stop: what is in flight has %g s.", self._settings.grace_s)
        self._stop.set()

    async def _drain(self, server: Server, runner: web.AppRunner, connections: Connections) -> None:
        """Waits for the answers of requests that are here, for at most the grace; a body has half of it to arrive."""
        assert runner.server is not None
        loop = asyncio.get_running_loop()
        grace_s = max(0.0, self._settings.grace_s - _LAST_S)
        server.health.is_stopping = True
        runner.server.pre_shutdown()  # Connections that wait for nothing are closed, the others after their answer.
        giving_up = loop.call_later(grace_s / 2, server.bodies.give_up_all)
        deadline = loop.time() + grace_s
        while connections.num_busy() and loop.time() < deadline:
            await asyncio.sleep(0.02)
        giving_up.cancel()
        if connections.num_busy():
            logging.warning("%s requests are ended at the end of the grace.", connections.num_busy())


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
