"""Takes the newest pushed model out of service: `python pipeline/rollback.py [--root DIR]`, see `--help`.

Servers that watch the folder go back to the version before. The files stay, the pusher does not push the same model
again, and `--restore` puts a version back. Exit status: 0, or 2 if there is no version to go back to.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(PROJECT_DIR)

from components.pushing import model_versions  # noqa: E402
from maskformer_model.command_errors import run_command  # noqa: E402
from maskformer_model.command_parser import CommandParser  # noqa: E402
from pipeline.config import POINTER_PARTS  # noqa: E402
from pipeline.local_run import runs_page  # noqa: E402
from pipeline.project_folder import default_root  # noqa: E402


class NothingToRollBackError(ValueError):
    """There is no version to go back to."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; unknown flags end the program with status 2."""
    parser = CommandParser(
        prog="rollback.py", description="Takes the newest pushed model out of service, so that the one before serves."
    )
    add = parser.add_argument
    add("--root", metavar="DIR", default=default_root(), help="the pipeline's folder (default: %(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--to", type=int, metavar="VERSION", help="go back to this version (default: the one before the newest)"
    )
    what.add_argument("--restore", type=int, metavar="VERSION", help="put a withdrawn version back")
    what.add_argument("--list", action="store_true", help="list the versions and do nothing")
    return parser.parse_args(argv)


def roll_back(serving_dir: str, to: int | None = None) -> list[int]:
    """Withdraws every version that is newer than `to`, the newest first.

    Args:
        serving_dir: The folder of versions.
        to: The version that should serve; None: the one before the newest.

    Returns:
        The versions that were withdrawn.

    Raises:
        NothingToRollBackError: if there is no such version, or it already serves.
    """
    versions = model_versions.list_versions(serving_dir)
    if to is None:
        if len(versions) < 2:
            raise NothingToRollBackError(f"There is no version before the newest in {serving_dir}: {versions}")
        to = versions[-2]
    if to not in versions[:-1]:
        raise NothingToRollBackError(f"`--to` must be an older version of {versions}. Received: {to}")
    withdrawn = [version for version in reversed(versions) if version > to]
    for version in withdrawn:
        model_versions.withdraw(serving_dir, version)
    return withdrawn


def _move_pointer(root: str, serving_dir: str, versions: list[int]) -> None:
    """Points Pusher's pointer to the newest version that is left."""
    pointer_file = pathlib.Path(root, *POINTER_PARTS)
    if not pointer_file.exists():
        return
    # Imported here because it needs TensorFlow, and the serving version must change at once.
    from components.pushing import model_pointer

    if versions:
        destination = model_versions.version_dir(serving_dir, versions[-1])
        pointer = model_pointer.ModelPointer(version=str(versions[-1]), destination=destination)
        model_pointer.write_pointer(str(pointer_file), pointer)
    else:
        model_pointer.remove_pointer(str(pointer_file))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    return run_command("rollback.py", lambda: _roll_back(args))


def _roll_back(args: argparse.Namespace) -> int:
    serving_dir = str(pathlib.Path(args.root, "serving"))
    if "://" in args.root:
        raise NothingToRollBackError(
            "`--root` must be a folder, because a bucket cannot rename a version at once. On a cluster, keep "
            f"`pipeline.root` on a volume and run this where it is mounted at the same path. Received: {args.root}"
        )
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()  # What follows needs it, and it greets.
    if args.restore is not None:
        print(f"Serving again: {model_versions.restore(serving_dir, args.restore)}")
    elif not args.list:
        print(f"Withdrawn: {', '.join(map(str, roll_back(serving_dir, args.to)))}")
    versions = model_versions.list_versions(serving_dir)
    if not args.list:
        # The pointer before the page: what serves elsewhere must not wait for a picture of it.
        _move_pointer(args.root, serving_dir, versions)
        if pathlib.Path(args.root, runs_page.RUNS_FILE).exists():
            runs_page.write_index(args.root, serving_dir)
    print(f"Serves: {versions[-1] if versions else 'nothing'}")
    print(f"Versions: {versions}, withdrawn: {model_versions.list_withdrawn(serving_dir)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
