"""Tests of `components.trainer`; the end-to-end test of the pipeline runs it for real."""

import types

import pytest

from components.trainer import CHECKPOINTS_KEY, copy_tree, run_fn, stable_training_dir


@pytest.mark.parametrize("custom_config", [None, {}, {"other": 1}])
def test_a_trainer_without_an_experiment_is_refused(custom_config):
    fn_args = types.SimpleNamespace(custom_config=custom_config)
    with pytest.raises(KeyError, match="`custom_config` must hold 'experiment'. Received"):
        run_fn(fn_args)


def test_a_training_has_one_folder_by_configuration_and_data_wherever_they_are(tmp_path):
    config = {"experiment": "{}", "source_sha256": "1", CHECKPOINTS_KEY: "/checkpoints"}

    def folder(place, content=b"record", name="data-00000-of-00001", **changes):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / name).write_bytes(content)
        return stable_training_dir(config | changes, [str(tmp_path / place / "*")])

    first = folder("a")
    assert first.startswith("/checkpoints/")
    assert folder("b") == first
    assert folder("b", **{CHECKPOINTS_KEY: "/other"}) == first.replace("checkpoints", "other")
    others = {
        folder("b", source_sha256="2"),
        folder("b", experiment="{1}"),
        folder("b", b"other"),
        folder("c", name="data-00000-of-00002"),
    }
    assert len(others | {first}) == 5
    assert folder("b", **{CHECKPOINTS_KEY: ""}) == ""


def test_a_copied_folder_holds_everything_and_replaces_what_an_unfinished_copy_left(tmp_path):
    (tmp_path / "from" / "inner").mkdir(parents=True)
    (tmp_path / "from" / "a").write_text("1")
    (tmp_path / "from" / "inner" / "b").write_text("2")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "a").write_text("cut o")
    copy_tree(str(tmp_path / "from"), str(tmp_path / "to"))
    assert (tmp_path / "to" / "a").read_text() == "1"
    assert (tmp_path / "to" / "inner" / "b").read_text() == "2"
