"""Reads the YAML file of a compiled pipeline's settings: image, places, resources, retries, labels.

The key `pipeline` of the file holds the flags of `run_local.py` by name, so that both use the same names:

    pipeline: {root: gs://bucket/maskformer, data: gs://bucket/coco, experiment: coco_small, pq_floor: 0.3}
    image: europe-docker.pkg.dev/project/repo/maskformer-pipeline:1
    default_node: {cpu: 4, memory: 16G, retries: 2}
    nodes:
      Trainer: {cpu: 16, memory: 64G, accelerator: nvidia.com/gpu, accelerator_count: 1, retries: 5}

Imports nothing heavy. `cluster_check` says whether a cluster could run a config.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from maskformer_model.config.rules import require
from maskformer_model.config.settings_file import read_settings
from pipeline import flags
from pipeline.config import PipelineConfig
from pipeline.local_run.generated_data import GeneratedDataConfig

PROJECT_DIR = str(pathlib.Path(__file__).resolve().parents[2])
IMAGE_PROJECT_DIR = "/opt/maskformer"  # The project's folder in docker/pipeline.Dockerfile.
VERTEX, KUBEFLOW = "vertex", "kubeflow"
LOCAL_ROOT = os.path.join(PROJECT_DIR, "runs", "compiled")
LOCAL_IMAGE = "maskformer-pipeline:local"  # Tasks that run on this machine start no image.
_MEMORY = re.compile(r"\d+(\.\d+)?[KMGT]i?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LABEL_KEY, _LABEL_VALUE = re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """The settings of one node's container.

    Attributes:
        cpu: The number of cores; 0 leaves it to the platform.
        memory: The memory, such as "16G" or "16Gi"; empty leaves it to the platform.
        accelerator: Vertex's name ("NVIDIA_TESLA_T4") or Kubernetes's resource ("nvidia.com/gpu", "google.com/tpu").
        accelerator_count: The number of accelerators of one pod.
        image: The node's own image; empty: the config's. A node with an accelerator needs one whose TensorFlow uses it:
            docker/pipeline.Dockerfile, built with `ACCELERATOR=cuda`.
        retries: How many times a failing node is tried again.
        backoff_s: The seconds before the first retry; they double each time.
        node_selector: The labels of the machines, only on Kubernetes (TPU type and topology, spot).
        tolerations: Kubernetes's tolerations, only on Kubernetes.

    Raises:
        ValueError: if a value breaks its rule.
    """

    cpu: float = 0.0
    memory: str = ""
    accelerator: str = ""
    accelerator_count: int = 0
    image: str = ""
    retries: int = 1
    backoff_s: int = 30
    node_selector: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self):
        for name in ("cpu", "accelerator_count", "retries", "backoff_s"):
            require(getattr(self, name) >= 0, f"`{name}` must not be negative.", getattr(self, name))
        require(
            not self.memory or bool(_MEMORY.fullmatch(self.memory)), "`memory` must be like 16G.", repr(self.memory)
        )
        require(
            bool(self.accelerator) == bool(self.accelerator_count),
            "`accelerator` and `accelerator_count` belong together.",
            (self.accelerator, self.accelerator_count),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """A PersistentVolumeClaim that every node sees, for data and served models, only on Kubernetes."""

    claim: str
    mount_path: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlatformConfig:
    """All settings of a compiled pipeline.

    Attributes:
        pipeline: The pipeline's config.
        scenes: The drawn scenes that are the data of a local test; None if the config names its data.
        image: The image with the project and its locked packages, of every node that names none of its own.
        project_dir: The project's folder in the image.
        pipeline_root: The platform's root of artifacts; empty: `root`'s, on Kubeflow its own.
        data_sha256: The digest of the data's manifest; empty: read from the manifest when compiling, if the data is on
            this machine.
        default_node: The settings of nodes that `nodes` does not name.
        nodes: The settings of nodes, by node id.
        labels: The labels of the run on Vertex, of every pod on Kubeflow.
        volumes: The volumes of every node, see `VolumeConfig`.

    Raises:
        ValueError: if a value breaks its rule.
    """

    pipeline: PipelineConfig
    scenes: GeneratedDataConfig | None = None
    image: str = ""
    project_dir: str = IMAGE_PROJECT_DIR
    pipeline_root: str = ""
    data_sha256: str = ""
    default_node: NodeConfig = NodeConfig(cpu=2, memory="8G")
    nodes: Mapping[str, NodeConfig] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    volumes: tuple[VolumeConfig, ...] = ()

    def __post_init__(self):
        require(
            self.data_sha256 == "" or bool(_SHA256.fullmatch(str(self.data_sha256))),
            "`data_sha256` must be 64 hexadecimal digits, in quotes where they are all decimal.",
            repr(self.data_sha256),
        )
        for key, value in self.labels.items():
            fits = _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)
            require(bool(fits), "`labels` must be lower-case words of at most 63 letters.", {key: value})

    def node(self, node_id: str) -> NodeConfig:
        """Returns the settings of a node."""
        return self.nodes.get(node_id, self.default_node)


def local_config(config: PlatformConfig | None = None) -> PlatformConfig:
    """Returns the config of a test on this machine, with this checkout's code.

    Args:
        config: The config of a file; None: the demo's scenes and training, below `LOCAL_ROOT`.
    """
    if config is None:
        config = config_from_dict({"pipeline": {"root": LOCAL_ROOT}})
    return dataclasses.replace(config, image=config.image or LOCAL_IMAGE, project_dir=PROJECT_DIR)


def read_config(path: str | os.PathLike[str]) -> PlatformConfig:
    """Reads a file.

    Raises:
        OSError: if it cannot be read.
        KeyError: if the experiment or a setting of it is unknown.
        ValueError: if a key is unknown, or a value breaks its rule.
    """
    return config_from_dict(read_settings(path, "--config"))


def config_from_dict(document: Mapping[str, Any]) -> PlatformConfig:
    """Returns the config of a document, as `read_config` reads it."""
    values = dict(document)
    args = flags.parse_args(_flags(values.pop("pipeline", {})))
    if isinstance(values.get("default_node"), dict):
        values["default_node"] = _of(NodeConfig, values["default_node"])
    values["nodes"] = {name: _of(NodeConfig, node) for name, node in values.get("nodes", {}).items()}
    values["volumes"] = tuple(_of(VolumeConfig, volume) for volume in values.get("volumes", ()))
    config = flags.config_from_args(args)
    return _of(PlatformConfig, values | {"pipeline": config, "scenes": flags.generated_data_from_args(args)})


def _flags(named: Mapping[str, Any]) -> list[str]:
    """Returns `{"data": "x", "evaluate_on_train": True, "slice": ["a", "b"]}` as a command line."""
    words: list[str] = []
    for name, value in named.items():
        values = value if isinstance(value, list) else [value]
        for each in values:
            if each is True:
                words.append(f"--{name}")
            elif each is not False:
                words.append(f"--{name}={each}")
    return words


def _of(kind: Any, values: Mapping[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(f"A {kind.__name__} has {known}. Received: {unknown}")
    if isinstance(values.get("tolerations"), list):
        values = dict(values) | {"tolerations": tuple(values["tolerations"])}
    return kind(**values)
