"""The gate in real runs of the whole pipeline, one model after another in one root: docs/evaluation.md's cases.

Every node is the real one but the Trainer, whose models know a given share of the photos by heart.
"""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from pipeline import run_local
from tests.pipeline import prepared_trainer

pytestmark = [pytest.mark.slow, pytest.mark.takes(seconds=180)]
NUM_EVAL = 32


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def run(root):
    """Runs the pipeline with a model of so many steps."""
    from pipeline import maskformer_pipeline

    patch = pytest.MonkeyPatch()
    patch.setattr(maskformer_pipeline, "trainer_adapter", prepared_trainer)

    def run_pipeline(steps, *flags):
        data = ("--generated_train_images", "8", "--generated_eval_images", str(NUM_EVAL))
        overrides = f"trainer.train_steps={steps},trainer.optimizer.drop_steps=[]"
        status = run_local.main(["--root", str(root), *data, "--params_override", overrides, *flags])
        assert status == 0
        return json.loads((root / "summary.json").read_text())

    yield run_pipeline
    patch.undo()


@pytest.fixture(scope="module")
def first(run):
    return run(prepared_trainer.FIRST, "--slice", "image/statistics/num_things")


@pytest.fixture(scope="module")
def better(run, first):
    return run(prepared_trainer.BETTER)


@pytest.fixture(scope="module")
def worse(run, better):
    return run(prepared_trainer.WORSE)


@pytest.fixture(scope="module")
def other(run, worse):
    return run(prepared_trainer.OTHER)


def versions(root):
    return sorted(os.listdir(root / "serving"))


def test_the_first_model_is_pushed(root, first):
    assert (first["outcome"], first["blessed"], first["pushed_now"]) == ("first_model", True, True)
    assert 0.4 < first["pq"] < 0.8
    low, high = first["pq_interval"]
    assert low < first["pq"] < high
    assert "No model was blessed before this one" in first["verdict"][1]
    assert "num_things=" in pathlib.Path(first["report"]).read_text()


def test_a_better_model_is_pushed(root, first, better):
    assert (better["outcome"], better["blessed"], better["pushed_now"]) == ("better", True, True)
    assert better["pq_change"] == pytest.approx(better["pq"] - first["pq"], abs=1e-12)
    assert better["pushed_model"] != first["pushed_model"]


def test_a_worse_model_is_not_pushed_and_the_last_one_keeps_serving(root, better, worse):
    assert (worse["outcome"], worse["blessed"], worse["pushed_model"]) == ("worse", False, None)
    assert worse["pq_change"] < -0.2
    assert versions(root)[-1] == os.path.basename(better["pushed_model"])


def test_a_model_that_is_not_significantly_different_is_not_pushed_without_an_allowed_drop(root, run, better, other):
    assert (other["outcome"], other["blessed"], other["pushed_model"]) == ("not_different", False, None)
    assert "where only a drop" in other["verdict"][1]
    assert len(versions(root)) == 2
    allowed = run(prepared_trainer.OTHER, "--allowed_pq_drop", "0.5")
    assert (allowed["outcome"], allowed["blessed"], allowed["pushed_now"]) == ("not_different", True, True)


def test_all_runs_are_on_one_page_that_says_which_serves(root, other):
    page = (root / "index.html").read_text()
    assert page.count('<li class="run"') == len((root / "runs.jsonl").read_text().splitlines())
    assert page.count("serves now</span>") == 1
