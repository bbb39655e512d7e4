"""Tests of `components.pushing.pusher`, its executor on real folders."""

import json
import os

import pytest
from google.protobuf import json_format
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from components.pushing import model_versions
from components.pushing.model_pointer import read_pointer
from components.pushing.pusher import Executor, Pusher


@pytest.fixture
def push(tmp_path):
    """Pushes a model with the given weights and returns the `pushed_model` artifact."""
    pushes = []

    def push_model(weights, *, blessed=1, infra_blessed=None, keep_versions=None, base_directory=None, pointer=None):
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / f"model-{len(pushes)}")
        serving = os.path.join(model.uri, "Format-Serving")
        os.makedirs(os.path.join(serving, "variables"))
        for name, content in (("saved_model.pb", b"graph"), ("variables/variables.data", weights)):
            with open(os.path.join(serving, name), "wb") as file:
                file.write(content)
        blessing = standard_artifacts.ModelBlessing()
        blessing.set_int_custom_property("blessed", blessed)
        inputs = {"model": [model], "model_blessing": [blessing]}
        if infra_blessed is not None:
            inputs["infra_blessing"] = [standard_artifacts.InfraBlessing()]
            inputs["infra_blessing"][0].set_int_custom_property("blessed", infra_blessed)
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / f"pushed-{len(pushes)}")
        os.makedirs(pushed.uri)
        pushes.append(pushed)
        destination = pusher_pb2.PushDestination()
        destination.filesystem.base_directory = str(tmp_path / "serving") if base_directory is None else base_directory
        Executor().Do(
            inputs,
            {"pushed_model": [pushed]},
            {
                "push_destination": json_format.MessageToJson(destination),
                "custom_config": json.dumps(
                    {
                        key: value
                        for key, value in (("keep_versions", keep_versions), ("pointer_file", pointer))
                        if value is not None
                    }
                    or None
                ),
            },
        )
        return pushed

    return push_model


def versions(tmp_path):
    return sorted(os.listdir(tmp_path / "serving")) if (tmp_path / "serving").exists() else []


def test_a_blessed_model_is_pushed_with_tfx_s_properties(push, tmp_path):
    pushed = push(b"one")
    [version] = versions(tmp_path)
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_int_custom_property("already_serving") == 0
    assert pushed.get_string_custom_property("pushed_version") == version
    assert pushed.get_string_custom_property("pushed_destination") == str(tmp_path / "serving" / version)
    assert (tmp_path / "serving" / version / "variables" / "variables.data").read_bytes() == b"one"
    assert os.path.exists(os.path.join(pushed.uri, "saved_model.pb"))


def test_the_model_that_already_serves_is_not_pushed_again(push, tmp_path):
    push(b"one")
    before = versions(tmp_path)
    again = push(b"one")
    assert versions(tmp_path) == before
    assert again.get_int_custom_property("pushed") == 0
    assert again.get_int_custom_property("already_serving") == 1
    assert again.get_string_custom_property("pushed_destination") == str(tmp_path / "serving" / before[0])


def test_another_model_becomes_a_newer_version_even_within_the_same_second(push, tmp_path):
    push(b"one")
    push(b"two")
    older, newer = versions(tmp_path)
    assert int(newer) > int(older)
    assert (tmp_path / "serving" / newer / "variables" / "variables.data").read_bytes() == b"two"


def test_a_model_that_served_before_the_newest_is_pushed_again(push, tmp_path):
    for weights in (b"one", b"two", b"one"):
        assert push(weights).get_int_custom_property("pushed") == 1
    assert len(versions(tmp_path)) == 3


def test_a_model_that_is_not_blessed_goes_nowhere(push, tmp_path):
    pushed = push(b"one", blessed=0)
    assert versions(tmp_path) == []
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_int_custom_property("already_serving") == 0
    assert pushed.get_string_custom_property("pushed_destination") == ""


def test_a_model_that_cannot_serve_goes_nowhere(push, tmp_path):
    assert push(b"one", infra_blessed=0).get_int_custom_property("pushed") == 0
    assert versions(tmp_path) == []
    assert push(b"one", infra_blessed=1).get_int_custom_property("pushed") == 1


def test_only_as_many_versions_stay_as_are_kept(push, tmp_path):
    for weights in (b"one", b"two", b"three"):
        push(weights, keep_versions=2)
    assert len(versions(tmp_path)) == 2
    newest = tmp_path / "serving" / versions(tmp_path)[-1]
    assert (newest / "variables" / "variables.data").read_bytes() == b"three"


def test_a_model_that_was_withdrawn_is_not_pushed_again(push, tmp_path):
    push(b"one")
    push(b"two")
    serving = tmp_path / "serving"
    [_, worse] = model_versions.list_versions(serving)
    model_versions.withdraw(serving, worse)
    assert push(b"two").get_int_custom_property("pushed") == 0
    assert len(model_versions.list_versions(serving)) == 1
    model_versions.restore(serving, worse)
    assert push(b"two").get_int_custom_property("already_serving") == 1


def test_a_destination_without_a_folder_is_refused(push):
    with pytest.raises(ValueError, match="`push_destination` must name a folder"):
        push(b"one", base_directory="")


def test_the_component_runs_this_executor():
    assert Pusher.EXECUTOR_SPEC.executor_class is Executor


def test_the_pointer_names_what_was_pushed_last_or_serves_already(push, tmp_path):
    pointer = str(tmp_path / "blessed" / "LATEST.json")
    push(b"one", pointer=pointer)
    first = read_pointer(pointer)
    assert [first.version] == versions(tmp_path)
    assert first.destination == str(tmp_path / "serving" / first.version)
    push(b"two", pointer=pointer, keep_versions=1)
    second = read_pointer(pointer)
    assert [second.version] == versions(tmp_path) != [first.version]
    os.remove(pointer)
    push(b"two", pointer=pointer)
    assert read_pointer(pointer).version == second.version


def test_the_pointer_stays_where_nothing_was_pushed(push, tmp_path):
    pointer = str(tmp_path / "LATEST.json")
    push(b"one", blessed=0, pointer=pointer)
    assert read_pointer(pointer) is None
    push(b"one", pointer=pointer)
    before = read_pointer(pointer)
    push(b"two", blessed=0, pointer=pointer)
    assert read_pointer(pointer) == before
