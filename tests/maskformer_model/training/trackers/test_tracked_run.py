"""The place of a run in a tracker, without a tracker."""

from __future__ import annotations

import pytest

from maskformer_model import extras
from maskformer_model.config import ExperimentConfig, override
from maskformer_model.config.trainer import RuntimeConfig
from maskformer_model.training.trackers import tracked_run
from maskformer_model.training.trackers.tracker import TrackedRun

RUN = TrackedRun(tracker="mlflow", uri="http://tracker:5000", project="maskformer", run_id="7f")


def test_without_a_tracker_nothing_is_noted(tmp_path):
    with tracked_run.tracked(ExperimentConfig(), str(tmp_path), {}) as tracker:
        assert tracker is None
    tracked_run.report_model(str(tmp_path), str(tmp_path / "model"))
    with tracked_run.run_of_model(str(tmp_path / "model")) as tracker:
        assert tracker is None
    assert list(tmp_path.iterdir()) == []


def test_the_place_of_a_run_is_read_as_it_was_written(tmp_path):
    assert tracked_run.read_tracked_run(str(tmp_path)) is None
    tracked_run.write_tracked_run(str(tmp_path / "run"), RUN)
    assert tracked_run.read_tracked_run(str(tmp_path / "run")) == RUN


def test_settings_have_the_names_that_an_override_takes():
    settings = tracked_run.flat_settings(override(ExperimentConfig(), "trainer.train_steps=7"))
    assert (settings["trainer.train_steps"], settings["runtime.tracker"]) == (7, "tensorboard")
    assert settings["trainer.optimizer.drop_steps"] == []


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_tracker_without_its_package_says_what_to_install(tmp_path, monkeypatch, tracker):
    # As where the extra is not installed; where it is, its modules would be found.
    monkeypatch.setitem(extras.MODULES_OF_EXTRAS, "trackers", ("no_such_tracker",))
    config = override(ExperimentConfig(), f"runtime.tracker={tracker}")
    with (
        pytest.raises(ModuleNotFoundError, match="Install the extra `trackers`"),
        tracked_run.tracked(config, str(tmp_path), {}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("field", "value"), [("tracker", "neptune"), ("tracker", ""), ("tracker_project", "")])
def test_a_tracker_that_is_not_known_is_refused(field, value):
    with pytest.raises(ValueError, match=f"`runtime.{field}` must .*Received: "):
        RuntimeConfig(**{field: value})
