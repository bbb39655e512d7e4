"""The post-processor on a small compiled pipeline."""

from __future__ import annotations

import copy

import pytest

from pipeline.compiled import compiled_spec
from pipeline.compiled.platform_config import NodeConfig, PlatformConfig, VolumeConfig, config_from_dict
from tests.pipeline.small_spec import dag_tasks, greeting_pipeline
from tests.pipeline.small_spec import executor_of as executor


@pytest.fixture(scope="module")
def config() -> PlatformConfig:
    """Resources for one node, and less for the others."""
    return config_from_dict(
        {
            "pipeline": {"root": "gs://bucket/root", "data": "gs://bucket/data"},
            "default_node": {"cpu": 2, "retries": 0},
            "nodes": {
                "Write": {
                    "cpu": 0.5,
                    "memory": "16Gi",
                    "accelerator": "google.com/tpu",
                    "accelerator_count": 4,
                    "retries": 3,
                    "backoff_s": 10,
                    "node_selector": {"cloud.google.com/gke-tpu-topology": "2x2"},
                    "tolerations": [{"key": "spot", "operator": "Exists"}],
                }
            },
            "labels": {"team": "vision"},
            "volumes": [{"claim": "data", "mount_path": "/data"}],
        }
    )


def test_a_constant_becomes_a_parameter_with_that_default_and_reaches_the_exit_handler_s_graph():
    spec = greeting_pipeline()
    promoted = compiled_spec.promote_parameters(spec, {"heaviness": ("Write", "weight")})
    number = {"parameterType": "NUMBER_DOUBLE"}
    assert promoted["root"]["inputDefinitions"]["parameters"] == {"heaviness": number | {"defaultValue": 2.0}}
    given = {"heaviness": {"componentInputParameter": "heaviness"}}
    assert promoted["root"]["dag"]["tasks"]["tfx-dag"]["inputs"]["parameters"] == given
    assert promoted["components"]["tfx-dag"]["inputDefinitions"]["parameters"] == {"heaviness": number}
    assert dag_tasks(promoted)["Write"]["inputs"]["parameters"] == {"weight": {"componentInputParameter": "heaviness"}}
    assert spec == greeting_pipeline()


def test_without_an_exit_handler_a_parameter_reaches_the_task_at_once():
    spec = greeting_pipeline()
    spec["root"]["dag"]["tasks"] = spec["components"].pop("tfx-dag")["dag"]["tasks"]
    promoted = compiled_spec.promote_parameters(spec, {"heaviness": ("Write", "weight")})
    assert list(promoted["root"]["inputDefinitions"]["parameters"]) == ["heaviness"]
    write = promoted["root"]["dag"]["tasks"]["Write"]
    assert write["inputs"]["parameters"]["weight"] == {"componentInputParameter": "heaviness"}


@pytest.mark.parametrize("place", [("Write", "height"), ("Nobody", "weight")])
def test_what_is_no_constant_of_a_task_cannot_be_promoted(place):
    with pytest.raises(ValueError, match=r"\.".join(place)):
        compiled_spec.promote_parameters(greeting_pipeline(), {"heaviness": place})


def test_every_node_gets_its_resources(config):
    spec = compiled_spec.configure_nodes(greeting_pipeline(), config)
    assert executor(spec, "Write")["resources"] == {
        "cpuLimit": 0.5,
        "resourceCpuLimit": "0.5",
        "memoryLimit": 17.179869184,
        "resourceMemoryLimit": "16Gi",
        "accelerator": {"type": "google.com/tpu", "count": 4, "resourceType": "google.com/tpu", "resourceCount": "4"},
    }
    assert executor(spec, "Status")["resources"] == {"cpuLimit": 2.0, "resourceCpuLimit": "2"}


def test_a_node_can_have_an_image_of_its_own():
    config = config_from_dict({"image": "m:1", "nodes": {"Write": {"image": "m-cuda:1"}}})
    spec = compiled_spec.configure_nodes(greeting_pipeline(), config)
    # Those of the others are the compiler's.
    assert [executor(spec, name)["image"] for name in ("Write", "Shout")] == ["m-cuda:1", "python"]


@pytest.mark.parametrize(
    ("accelerator", "count", "asked"),
    [("nvidia.com/gpu", 2, "2"), ("NVIDIA_TESLA_T4", 1, "1"), ("google.com/tpu", 4, None), ("", 0, None)],
)
def test_the_trainer_is_told_how_many_gpus_it_must_see(accelerator, count, asked):
    spec = greeting_pipeline()
    dag_tasks(spec)["Trainer"] = dag_tasks(spec).pop("Shout")
    node = {"accelerator": accelerator, "accelerator_count": count}
    config = config_from_dict({"nodes": {"Trainer": node, "Write": node}})
    configured = compiled_spec.configure_nodes(spec, config)
    env = [{"name": "MASKFORMER_GPUS", "value": asked}] if asked else None
    assert (executor(configured, "Shout").get("env"), executor(configured, "Write").get("env")) == (env, None)


def test_a_node_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match=r"`nodes` must name nodes of \['Shout', 'Status', 'Write'\].*\['Wirte'\]"):
        compiled_spec.configure_nodes(greeting_pipeline(), config_from_dict({"nodes": {"Wirte": {"cpu": 4}}}))


def test_retries_are_of_the_task_and_of_no_graph(config):
    spec = compiled_spec.configure_nodes(greeting_pipeline(), config)
    policy = {"maxRetryCount": 3, "backoffDuration": "10s", "backoffFactor": 2.0}
    assert dag_tasks(spec)["Write"]["retryPolicy"] == policy
    assert "retryPolicy" not in dag_tasks(spec)["Shout"]
    assert "retryPolicy" not in spec["root"]["dag"]["tasks"]["tfx-dag"]


def test_a_query_has_no_resources(config):
    spec = greeting_pipeline()
    query = {"resolver": {"outputArtifactQueries": {}}}
    spec["deploymentSpec"]["executors"]["Write_executor"] = query
    assert compiled_spec.configure_nodes(spec, config)["deploymentSpec"]["executors"]["Write_executor"] == query


def test_a_task_can_be_kept_out_of_the_cache():
    spec = compiled_spec.never_cache(greeting_pipeline(), ("Write",))
    assert "cachingOptions" not in dag_tasks(spec)["Write"]
    assert "cachingOptions" in dag_tasks(compiled_spec.never_cache(greeting_pipeline(), ("Shout",)))["Write"]


def test_a_driver_is_replaced_and_keeps_its_arguments():
    spec = greeting_pipeline()
    executor(spec, "Write")["lifecycle"] = {"preCacheCheck": {"command": ["old"], "args": ["{{$}}"]}}
    replaced = compiled_spec.replace_driver(spec, "Write", ["new"])
    assert executor(replaced, "Write")["lifecycle"]["preCacheCheck"] == {"command": ["new"], "args": ["{{$}}"]}
    with pytest.raises(ValueError, match="Shout"):
        compiled_spec.replace_driver(spec, "Shout", ["new"])


def test_the_project_s_files_are_found_where_the_image_has_them():
    before = {
        "schema": "/home/me/code/schema.pbtxt",
        "flags": ["--setup_file=/home/me/code/setup.py", "--x=/home/me/codex/a"],
    }
    after = compiled_spec.replace_prefix(before, "/home/me/code", "/opt/app")
    assert after == {
        "schema": "/opt/app/schema.pbtxt",
        "flags": ["--setup_file=/opt/app/setup.py", "--x=/home/me/codex/a"],
    }


def test_labels_and_places_that_a_pipeline_spec_has_no_words_for(config):
    job = compiled_spec.add_job(greeting_pipeline(), config, "greeting")
    assert (job["labels"], job["displayName"]) == ({"team": "vision"}, "greeting")
    assert job["runtimeConfig"] == {"gcsOutputDirectory": "minio://bucket/root"}
    platform = compiled_spec.kubernetes_platform(greeting_pipeline(), config)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert sorted(executors) == ["Shout_executor", "Status_executor", "Write_executor"]
    assert executors["Write_executor"]["podMetadata"] == {"labels": {"team": "vision"}}
    assert executors["Write_executor"]["nodeSelector"] == {"labels": {"cloud.google.com/gke-tpu-topology": "2x2"}}
    assert executors["Write_executor"]["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert executors["Shout_executor"]["pvcMount"][0]["mountPath"] == "/data"


@pytest.mark.parametrize(("memory", "gigabytes"), [("500M", 0.5), ("16G", 16), ("1Gi", 1.073741824), ("1.5T", 1500)])
def test_memory_in_gigabytes(memory, gigabytes):
    assert compiled_spec.memory_gb(memory) == pytest.approx(gigabytes)


def test_a_config_names_its_wrong_values(config):
    with pytest.raises(ValueError, match="memory"):
        NodeConfig(memory="16 gigabytes")
    with pytest.raises(ValueError, match="belong together"):
        NodeConfig(accelerator="nvidia.com/gpu")
    with pytest.raises(ValueError, match="labels"):
        PlatformConfig(pipeline=config.pipeline, labels={"Team": "vision"})
    with pytest.raises(ValueError, match="`data_sha256` must be 64 hexadecimal digits.* Received: 12"):
        config_from_dict({"data_sha256": 12})
    with pytest.raises(ValueError, match="cpus"):
        config_from_dict({"default_node": {"cpus": 2}})
    with pytest.raises(ValueError, match="imgae"):
        config_from_dict({"imgae": "x"})


def test_a_config_speaks_run_local_s_language(config):
    assert config.pipeline.root == "gs://bucket/root"
    assert config.pipeline.serving_dir == "gs://bucket/root/serving"
    assert config.scenes is None
    assert config.volumes == (VolumeConfig(claim="data", mount_path="/data"),)
    assert (config.node("Write").cpu, config.node("Other").cpu) == (0.5, 2)
    demo = config_from_dict(
        {"pipeline": {"generated_train_images": 24, "evaluate_on_train": True, "slice": ["a", "b"]}}
    )
    assert (demo.scenes.num_train, demo.pipeline.data.options.evaluate_on_train) == (24, True)
    assert demo.pipeline.analysis.slices == ("a", "b")


def test_only_copies_are_changed(config):
    spec = greeting_pipeline()
    before = copy.deepcopy(spec)
    compiled_spec.configure_nodes(spec, config)
    compiled_spec.never_cache(spec, ("Write",))
    compiled_spec.replace_prefix(spec, "python", "pypy")
    assert spec == before
