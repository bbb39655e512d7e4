"""RunStatus: the exit handler of a compiled pipeline; notes how a run has ended where others look for it.

It runs whether the run went through or not. The note is `<status_dir>/<run>.json`, the platform's own words.
"""

# No `from __future__ import annotations`: TFX reads the annotations of a function component as values.
import json
import os

from absl import logging
from tfx.dsl.component.experimental.annotations import Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio


def status_file_name(final_status: dict) -> str:
    """Named after the run: the last part of its resource name.

    Raises:
        ValueError: if the status names no run.
    """
    run = str(final_status.get("pipelineJobResourceName", "")).rstrip("/").rpartition("/")[2]
    if not run:
        raise ValueError(f"`final_status` must name the run. Received: {final_status}")
    return f"{run}.json"


@component
def RunStatus(final_status: Parameter[str], status_dir: Parameter[str]):
    """Writes the final status, a PipelineTaskFinalStatus as json, into `status_dir`."""
    status = json.loads(final_status)
    path = os.path.join(status_dir, status_file_name(status))
    fileio.makedirs(status_dir)
    with fileio.open(path, "w") as file:
        file.write(json.dumps(status, indent=1, sort_keys=True))
    logging.info("The run ended with %s; noted in %s.", status.get("state"), path)
