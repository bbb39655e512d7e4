#!/usr/bin/env python3
"""What `/opt/apache/beam/boot` does in Beam's worker images, for a test: fetch what was staged, install it, start.

A worker pool starts it as its `--container_executable`, in a new process per worker. The folder that the environment
variable WORKER_FOLDER names gets the installed packages and `imported_from`, where the worker finds `components`.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile


def fetch(folder: str, worker_id: str, provision_endpoint: str, artifact_endpoint: str) -> tuple[str, list[str]]:
    """Asks the runner for the pipeline's options (as json) and the staged files."""
    import grpc
    from apache_beam.portability.api import (
        beam_artifact_api_pb2_grpc,
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
        beam_runner_api_pb2,
    )
    from apache_beam.runners.portability import artifact_service
    from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
    from google.protobuf import json_format

    def channel(endpoint):
        return grpc.intercept_channel(grpc.insecure_channel(endpoint), WorkerIdInterceptor(worker_id))

    provision = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel(provision_endpoint))
    info = provision.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest()).info
    retrieval = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel(artifact_endpoint))
    staged = artifact_service.resolve_artifacts(info.dependencies, retrieval, folder)
    payload = beam_runner_api_pb2.ArtifactFilePayload
    paths = [payload.FromString(artifact.type_payload).path for artifact in staged]
    return json_format.MessageToJson(info.pipeline_options), paths


def main() -> None:
    """Installs, then becomes the worker."""
    parser = argparse.ArgumentParser()
    for name in ("id", "logging_endpoint", "artifact_endpoint", "provision_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}", required=True)
    args, _ = parser.parse_known_args()
    folder = pathlib.Path(os.environ["WORKER_FOLDER"])
    packages = folder / "packages"
    options, paths = fetch(tempfile.mkdtemp(dir=folder), args.id, args.provision_endpoint, args.artifact_endpoint)
    archives = [path for path in paths if pathlib.Path(path).read_bytes()[:2] == b"\x1f\x8b"]
    for number, path in enumerate(archives):
        archive = folder / f"staged-{number}.tar.gz"
        archive.write_bytes(pathlib.Path(path).read_bytes())
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "--no-index", "--target", str(packages), str(archive)], check=True)
    environment = os.environ | {
        # `--target` is no folder for site-packages, so the .pth file there does not count.
        "PYTHONPATH": os.pathsep.join([str(packages / "maskformer_tfx"), str(packages)]),
        "WORKER_ID": args.id,
        "PIPELINE_OPTIONS": options,
        "LOGGING_API_SERVICE_DESCRIPTOR": f'url: "{args.logging_endpoint}"',
        "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{args.control_endpoint}"',
    }
    program = "import components, maskformer_model; print(components.__file__, maskformer_model.__file__, sep='\\n')"
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=folder, capture_output=True, check=True
    )
    (folder / "imported_from").write_bytes(found.stdout)
    os.chdir(folder)
    worker = [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"]
    os.execve(sys.executable, worker, environment)


if __name__ == "__main__":
    main()
