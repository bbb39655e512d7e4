"""The server's command line: `python -m maskformer_model.serve --model DIR`, see `--help`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from maskformer_model.serve.settings import ServerSettings

EXIT_USAGE = 2


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a wrong flag ends the program with status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m maskformer_model.serve",
        description="Serves an exported model over HTTP, in TensorFlow Serving's REST form, with a page for people.",
    )
    add, default = parser.add_argument, ServerSettings
    add("--model", required=True, metavar="DIR", help="a SavedModel, or a folder of pushed versions to follow")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine alone)")
    add("--port", type=int, default=8501, help="port to listen on (default: %(default)s)")
    add("--name", default=default.name, help="the model's name in paths (default: %(default)s)")
    add("--max_batch", type=int, default=default.max_batch, help="most photos per call (default: %(default)s)")
    add(
        "--batch_wait_s", type=float, default=default.batch_wait_s, help="how long a batch fills (default: %(default)s)"
    )
    add("--max_queue", type=int, default=default.max_queue, help="most photos that wait (default: %(default)s)")
    size_help = "largest request in bytes (default: %(default)s)"
    add("--max_request_bytes", type=int, default=default.max_request_bytes, help=size_help)
    pixels_help = "largest photo in pixels; 0 leaves it to the model (default: %(default)s)"
    add("--max_pixels", type=int, default=default.max_pixels, help=pixels_help)
    add("--timeout_s", type=float, default=default.timeout_s, help="longest answer (default: %(default)s)")
    add("--poll_s", type=float, default=default.poll_s, help="how often to look for versions (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop; returns the exit status."""
    args = parse_args(argv)
    values = {**vars(args), "model_dir": args.model}
    try:
        settings = ServerSettings(**{name: values[name] for name in ServerSettings.__dataclass_fields__})
    except ValueError as error:
        print(f"maskformer_model.serve: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        from aiohttp import web
    except ImportError:
        print("maskformer_model.serve needs aiohttp: pip install 'maskformer-tfx[serve]'", file=sys.stderr)
        return EXIT_USAGE
    from maskformer_model.serve.app import Server

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    print(f"http://{args.host}:{args.port}/", flush=True)
    # What was accepted is answered before the program ends.
    web.run_app(
        Server(settings).app(),
        host=args.host,
        port=args.port,
        access_log=None,
        print=None,
        shutdown_timeout=args.timeout_s,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
