"""What the entry point puts right between Kubeflow's launcher and TFX."""

from __future__ import annotations

import json

from pipeline.compiled.container_entrypoint import StagedPaths, parse_args, prepare_input, restore_output

SPEC = {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model\n"}}}}
PATHS = StagedPaths("/stage")


def given(**artifact):
    """An ExecutorInput with one input artifact, as the launcher writes it."""
    return {
        "inputs": {
            "parameterValues": {"status": {"state": "COMPLETE"}, "steps": 3.0},
            "artifacts": {
                "model": {"artifacts": [{"uri": "minio://bucket/model", "type": {"instanceSchema": ""}, **artifact}]}
            },
        },
        "outputs": {
            "artifacts": {"out": {"artifacts": [{"uri": "s3://bucket/out", "type": {"schemaTitle": "x"}}]}},
            "outputFile": "/minio/x/output_metadata.json",
        },
    }


def test_addresses_become_the_launcher_s_folders_and_back():
    for remote, local in [
        ("minio://b/k", "/stage/minio/b/k"),
        ("s3://b/k", "/stage/s3/b/k"),
        ("gs://b/k", "/stage/gcs/b/k"),
        ("/data/b", "/data/b"),
    ]:
        assert PATHS.to_local(remote) == local
        assert PATHS.to_remote(local) == remote
    assert StagedPaths().to_local("minio://b/k") == "/minio/b/k"


def test_tfx_sees_paths_types_and_names():
    prepared = prepare_input(given(metadata={"origin": "minio://bucket/other", "version": 3.0}), SPEC, PATHS)
    [model] = prepared["inputs"]["artifacts"]["model"]["artifacts"]
    assert model == {
        "name": "minio://bucket/model",
        "uri": "/stage/minio/bucket/model",
        "type": {"instanceSchema": "title: tfx.Model\n"},
        "metadata": {"origin": "/stage/minio/bucket/other", "version": 3.0},
    }
    assert prepared["outputs"]["artifacts"]["out"]["artifacts"][0]["uri"] == "/stage/s3/bucket/out"


def test_an_artifact_that_is_marked_as_absent_is_left_out():
    assert (
        prepare_input(given(metadata={"absent": 1.0}), SPEC, PATHS)["inputs"]["artifacts"]["model"]["artifacts"] == []
    )
    assert (
        len(prepare_input(given(metadata={"absent": 0.0}), SPEC, PATHS)["inputs"]["artifacts"]["model"]["artifacts"])
        == 1
    )


def test_a_structure_becomes_the_text_that_tfx_expects():
    values = prepare_input(given(), SPEC, PATHS)["inputs"]["parameterValues"]
    assert json.loads(values["status"]) == {"state": "COMPLETE"}
    assert values["steps"] == 3.0


def test_the_launcher_sees_addresses_again():
    output = {
        "artifacts": {"out": {"artifacts": [{"uri": "/stage/minio/b/out", "metadata": {"model": "/stage/minio/b/m"}}]}}
    }
    assert restore_output(output, PATHS)["artifacts"]["out"]["artifacts"] == [
        {"uri": "minio://b/out", "metadata": {"model": "minio://b/m"}}
    ]


def test_nothing_that_was_given_is_changed():
    before = given(metadata={"origin": "minio://bucket/other"})
    prepare_input(before, SPEC, PATHS)
    assert before == given(metadata={"origin": "minio://bucket/other"})


def test_flags_of_beam_are_handed_on():
    flags = [
        "--executor_class_path=a.B",
        "--json_serialized_invocation_args={}",
        "--json_serialized_inputs_spec_args={}",
    ]
    args, beam_args = parse_args([*flags, "--runner=FnApiRunner"])
    assert (args.executor_class_path, beam_args) == ("a.B", ["--runner=FnApiRunner"])
