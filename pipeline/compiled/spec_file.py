"""Reads a compiled pipeline: a PipelineJob (Vertex AI), or a PipelineSpec with or without a PlatformSpec (Kubeflow)."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import yaml


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompiledSpec:
    """The documents of one file.

    Attributes:
        pipeline_spec: The graph.
        job: The PipelineJob around the graph, or None.
        platform_spec: The second document, or None.
    """

    pipeline_spec: dict[str, Any]
    job: dict[str, Any] | None = None
    platform_spec: dict[str, Any] | None = None

    @property
    def is_kubeflow(self) -> bool:
        """Returns whether the file is for Kubeflow; Vertex AI's has a PipelineJob."""
        return self.job is None

    @property
    def pipeline_root(self) -> str:
        """Returns the default root of artifacts."""
        config = (self.job or {}).get("runtimeConfig", {})
        return config.get("gcsOutputDirectory") or self.pipeline_spec.get("defaultPipelineRoot", "")


def read_spec(path: str | os.PathLike[str]) -> CompiledSpec:
    """Reads a file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not a compiled pipeline.
    """
    try:
        documents = list(yaml.safe_load_all(pathlib.Path(path).read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"A compiled pipeline must be YAML. Received in {path}: {error}") from error
    first = documents[0] if documents else None
    if not isinstance(first, dict) or not all(isinstance(document, dict) for document in documents):
        raise ValueError(f"A compiled pipeline must hold keys and values. Received: {path}")
    job = first if "pipelineSpec" in first else None
    pipeline_spec = first["pipelineSpec"] if job else first
    missing = [key for key in ("pipelineInfo", "root", "components", "deploymentSpec") if key not in pipeline_spec]
    if missing:
        raise ValueError(f"A compiled pipeline must have {missing}. Received: {path}")
    platform_spec = documents[1] if len(documents) > 1 else None
    return CompiledSpec(pipeline_spec=pipeline_spec, job=job, platform_spec=platform_spec)
