"""Refuses a config that no cluster could run, before anything is compiled: places, images, accelerators.

A pod has its own file system, so a folder of the machine that compiles does not exist there. `compile_kubeflow --local`
leaves this check out, for a test with `run_compiled` on one machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from maskformer_model.config.trainer import MLFLOW
from pipeline.compiled.platform_config import KUBEFLOW, NodeConfig, PlatformConfig

_GCS, _VERTEX_MOUNT = "gs://", "/gcs/"
_ARTIFACT_STORES = (_GCS, "s3://", "minio://")
# A digest, or a tag other than `latest`, behind the last slash: a registry's port is not a tag.
_FIXED_IMAGE = re.compile(r"\S+@sha256:[0-9a-f]{64}|(?:[^\s@]+/)?[^\s/@:]+:(?!latest$)[\w.-]+")
_VERTEX_ACCELERATOR = re.compile(r"(NVIDIA|TPU)_[A-Z0-9_]+")


def check_for_cluster(config: PlatformConfig, target: str) -> None:
    """Checks that a cluster could run the config; touches none of its places.

    Args:
        config: The config to compile.
        target: "vertex" or "kubeflow".

    Raises:
        ValueError: if it could not; the message names every entry that must change and what to set.
    """
    problems = [
        *_images(config),
        *_places(config, target),
        *_checkpoint(config, target),
        *_accelerators(config, target),
        *_tracker(config),
    ]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ValueError(
            f"No cluster could run this config:\n{lines}\n"
            "docs/examples/clusters has a config for each platform. `--local` compiles for a test on this machine."
        )


def _images(config: PlatformConfig) -> Iterator[str]:
    named = {"image": config.image} | {f"nodes.{name}.image": node.image for name, node in config.nodes.items()}
    for entry, image in named.items():
        if (image or entry == "image") and not _FIXED_IMAGE.fullmatch(image):
            yield (
                f"`{entry}` must have a tag other than `latest`, or a digest, so that every node of every run has the "
                f"same code. Set it to the image that you pushed, such as registry/maskformer-pipeline:1. "
                f"Received: {image!r}"
            )


def _places(config: PlatformConfig, target: str) -> Iterator[str]:
    if config.scenes is not None:
        yield (
            "`pipeline.data` must name the data: no node draws scenes. Set it to "
            f"{_where(config, target)}. Received: nothing"
        )
    named = {"root": config.pipeline.root} | ({} if config.scenes else {"data": config.pipeline.data.data_dir})
    for name, place in named.items():
        if not (place.startswith(_GCS) or _is_mounted(place, config, target)):
            yield f"`pipeline.{name}` must be on {_where(config, target)}. Received: {place!r}"
    stores = _ARTIFACT_STORES if target == KUBEFLOW else (_GCS,)
    if config.pipeline_root and not config.pipeline_root.startswith(stores):
        yield f"`pipeline_root` must be on {' or '.join(stores)}. Received: {config.pipeline_root!r}"
    if target != KUBEFLOW and not config.pipeline_root and not config.pipeline.root.startswith(_GCS):
        yield f"`pipeline_root` must be on {_GCS} where `pipeline.root` is not. Received: nothing"
    if target == KUBEFLOW and "://" in config.pipeline.data.data_dir and not config.data_sha256:
        yield (
            "`data_sha256` must be given, because compiling reads no bucket. Set it to what "
            f"`python -m components.coco_example_gen.manifest write {config.pipeline.data.data_dir}` prints. "
            "Received: nothing"
        )


def _checkpoint(config: PlatformConfig, target: str) -> Iterator[str]:
    # Imported here because it needs Keras, which a config without a checkpoint does not.
    from maskformer_model.pretrained.efficientnet_weights import PACKAGE

    path = config.pipeline.experiment.task.init_checkpoint
    if path not in ("", PACKAGE) and not _is_mounted(path, config, target):
        mounted = "a folder of `volumes`" if target == KUBEFLOW else f"{_VERTEX_MOUNT}BUCKET"
        yield (
            f"`task.init_checkpoint` must be a file in {mounted} or in the image's {config.project_dir}, because it "
            f"is read as a file. Received: {path!r}"
        )


def _accelerators(config: PlatformConfig, target: str) -> Iterator[str]:
    for entry, node in _named_nodes(config):
        if not node.accelerator:
            continue
        if bool(_VERTEX_ACCELERATOR.fullmatch(node.accelerator)) == (target == KUBEFLOW):
            name = "Kubernetes's, such as nvidia.com/gpu" if target == KUBEFLOW else "Vertex's, such as NVIDIA_TESLA_T4"
            yield f"`{entry}.accelerator` must be {name}. Received: {node.accelerator!r}"
        if not node.image:
            yield (
                f"`{entry}.image` must name an image whose TensorFlow uses {node.accelerator}, or the node would be "
                "paid for and train on its processor. Set it to one that is built with "
                "`docker build -f docker/pipeline.Dockerfile --build-arg ACCELERATOR=cuda`. Received: nothing"
            )


def _tracker(config: PlatformConfig) -> Iterator[str]:
    runtime = config.pipeline.experiment.runtime
    if runtime.tracker == MLFLOW and not runtime.tracker_uri:
        yield (
            "`runtime.tracker_uri` must name the MLflow server, because no node has MLFLOW_TRACKING_URI. Set it to an "
            "address in the cluster, such as http://mlflow.mlflow:5000, and build the images with "
            "`--build-arg TRACKERS=yes`. Received: nothing"
        )


def _named_nodes(config: PlatformConfig) -> Iterator[tuple[str, NodeConfig]]:
    yield "default_node", config.default_node
    yield from ((f"nodes.{name}", node) for name, node in config.nodes.items())


def _is_mounted(path: str, config: PlatformConfig, target: str) -> bool:
    """Returns whether a pod has the path: from the image, a volume or Vertex's mount of buckets."""
    folders = [config.project_dir] if path != config.pipeline.root else []
    folders += [volume.mount_path for volume in config.volumes] if target == KUBEFLOW else [_VERTEX_MOUNT]
    return any(path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _where(config: PlatformConfig, target: str) -> str:
    if target != KUBEFLOW:
        return f"{_GCS} (or {_VERTEX_MOUNT}BUCKET, as Vertex mounts it)"
    mounts = ", ".join(volume.mount_path for volume in config.volumes) or "none yet"
    return f"{_GCS}, or in the `mount_path` of one of the `volumes` ({mounts}); TensorFlow opens no s3:// and minio://"
