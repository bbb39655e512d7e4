"""Runs a task's command in a process that is forked from this one, which has imported TFX: `run_compiled --fork_tasks`.

Every task runs its own command with its own arguments in a process of its own, as ever. But the import, more than half
of most tasks' time, is made once and not sixteen times.
"""

from __future__ import annotations

import os
import pathlib
import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import IO

from pipeline.compiled import local_platform

_PYTHON_MODULE = ["python", "-m"]


def import_tfx() -> None:
    """Imports what the nodes and TFX's entry points need, and does nothing with it."""
    import tfx.components
    import tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils
    import tfx.orchestration.kubeflow.v2.file_based_example_gen.driver  # noqa: F401

    import components.panoptic_evaluator.component  # noqa: F401


def run_forked(command: Sequence[str], work_dir: pathlib.Path, environment: Mapping[str, str], log: IO[str]) -> int:
    """Runs `python -m MODULE ARGUMENTS`, and nothing else; see `local_platform.run_command`."""
    if list(command[:2]) != _PYTHON_MODULE:
        return local_platform.run_command(command, work_dir, environment, log)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os._exit(_become(command[2], command[3:], work_dir, environment, log))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _become(
    module: str, arguments: Sequence[str], work_dir: pathlib.Path, environment: Mapping[str, str], log: IO[str]
) -> int:
    """In the forked process: what `python -m` does there."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log.fileno(), stream.fileno())
    os.chdir(work_dir)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    sys.path.insert(0, str(work_dir))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
        return status if isinstance(status, int) else int(status is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
