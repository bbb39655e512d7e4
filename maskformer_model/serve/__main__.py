"""The server's command line: `python -m maskformer_model.serve --model DIR`, see `--help`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser
from maskformer_model.serve.settings import ServerSettings

_PACKAGES = {"aiohttp": "aiohttp", "grpc": "grpcio"}  # By the module that they bring.


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a wrong flag ends the program with status 2."""
    parser = CommandParser(
        prog="python -m maskformer_model.serve",
        description="Serves an exported model over HTTP, in TensorFlow Serving's REST form, with a page for people.",
    )
    add, default = parser.add_argument, ServerSettings
    add("--model", required=True, metavar="DIR", help="a SavedModel, or a folder of pushed versions to follow")
    add("--host", default=default.host, help="address to listen on (default: %(default)s, this machine alone)")
    add("--port", type=int, default=default.port, help="port to listen on (default: %(default)s)")
    add("--grpc_port", type=int, help="port for KServe's protocol over gRPC (default: none)")
    add("--name", default=default.name, help="the model's name in paths (default: %(default)s)")
    add("--max_batch", type=int, default=default.max_batch, help="most photos per call (default: %(default)s)")
    add(
        "--batch_wait_s", type=float, default=default.batch_wait_s, help="how long a batch fills (default: %(default)s)"
    )
    add("--max_queue", type=int, default=default.max_queue, help="most photos that wait (default: %(default)s)")
    pixels_help = "largest photo in pixels; 0 takes what fits the memory (default: %(default)s)"
    add("--max_pixels", type=int, default=default.max_pixels, help=pixels_help)
    add("--timeout_s", type=float, default=default.timeout_s, help="longest answer (default: %(default)s)")
    add("--poll_s", type=float, default=default.poll_s, help="how often to look for versions (default: %(default)s)")
    grace_help = "how long requests in flight may take after SIGTERM (default: %(default)s)"
    add("--grace_s", type=float, default=default.grace_s, help=grace_help)
    _add_limits(parser)
    _add_access(parser)
    return parser.parse_args(argv)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add, default = parser.add_argument_group("limits of requests").add_argument, ServerSettings
    size_help = "largest request in bytes (default: %(default)s)"
    add("--max_request_bytes", type=int, default=default.max_request_bytes, help=size_help)
    total_help = "most bytes of all requests at a time (default: %(default)s)"
    add("--max_body_bytes", type=int, default=default.max_body_bytes, help=total_help)
    connections_help = "most open connections (default: %(default)s)"
    add("--max_connections", type=int, default=default.max_connections, help=connections_help)
    body_help = "how long a body may take to arrive (default: %(default)s)"
    add("--body_timeout_s", type=float, default=default.body_timeout_s, help=body_help)
    idle_help = "how long a connection may stay without a request (default: %(default)s)"
    add("--idle_timeout_s", type=float, default=default.idle_timeout_s, help=idle_help)


def _add_access(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("for those who open the server to a network").add_argument
    hosts_help = "names that requests may be addressed to, with commas; * allows all (default: IP addresses, localhost)"
    add("--allowed_hosts", type=_words, default=(), metavar="NAMES", help=hosts_help)
    add("--token_file", metavar="FILE", help="callers must send the token in this file as `Authorization: Bearer ...`")
    add("--certificate", metavar="FILE", help="TLS with this certificate chain, PEM")
    add("--key", metavar="FILE", help="its key, PEM")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is asked to stop; returns the exit status."""
    args = parse_args(argv)
    return run_command("maskformer_model.serve", lambda: _serve(args))


def _serve(args: argparse.Namespace) -> int:
    values = {**vars(args), "model_dir": args.model}
    names = [name for name in ServerSettings.__dataclass_fields__ if name in values]
    settings = ServerSettings(**{name: values[name] for name in names})
    settings.require_model_dir()
    try:
        from maskformer_model.serve import launch
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise ValueError(
            f"The server needs {_PACKAGES[error.name]}: run `pip install '.[serve]'` in the project's folder"
        ) from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    launch.serve(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
