"""PanopticPredictor and PanopticEvaluator as TFX runs them: executors on real artifacts, one model after another."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types

import pytest
from tensorflow_model_analysis.api.model_eval_lib import load_eval_result, load_validation_result
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from components.coco_example_gen.kept_aside import KeptAside
from components.panoptic_evaluator import executor as panoptic_evaluator_executor
from components.panoptic_evaluator.component import PanopticEvaluator
from components.panoptic_predictor import executor as panoptic_predictor_executor
from components.panoptic_predictor import prediction_files
from components.panoptic_predictor.artifacts import PanopticPredictions
from components.panoptic_predictor.component import PanopticPredictor
from components.panoptic_predictor.prediction_files import PredictionSummary
from maskformer_model.categories import CategoryTable
from maskformer_model.training.trackers.tracked_run import write_tracked_run
from maskformer_model.training.trackers.tracker import TrackedRun
from tests.components.brightness_model import CATEGORIES, DISC, save_model, scene, write_examples

# Two of seven discs are dark: a model with threshold 50 sees them, one with 128 does not.
SCENES = [scene(number, disc_level=100 if number in (3, 4) else 220) for number in range(1, 8)]
KEPT_ASIDE = [
    KeptAside(split="train", image_id=image_id, file_name="", reason="missing_photo", detail="") for image_id in "12"
]
# Naming an image keeps TFX from packing itself for remote workers before every Beam step; a local runner ignores it.
ANALYSIS = json.dumps({"slices": ["image/statistics/num_segments"], "num_resamples": 200})
BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=none"]


@dataclasses.dataclass
class Node:
    """Runs executors as a pipeline would: artifacts in, artifacts out, each in a folder of its own."""

    root: pathlib.Path
    examples: standard_artifacts.Examples
    num_runs: int = 0

    def predict(self, model=None, candidate=None, candidate_predictions=None, batch_size=1):
        output = self._new(PanopticPredictions)
        inputs = {"examples": self.examples, "model": model, "candidate_model": candidate}
        inputs["candidate_predictions"] = candidate_predictions
        properties = {"split": "eval", "batch_size": batch_size}
        self._do(panoptic_predictor_executor.Executor, inputs, {"predictions": output}, properties)
        return output

    def evaluate(self, model, predictions, baseline=None, baseline_predictions=None, **thresholds):
        evaluation, blessing = (
            self._new(standard_artifacts.ModelEvaluation),
            self._new(standard_artifacts.ModelBlessing),
        )
        inputs = {"examples": self.examples, "model": model, "predictions": predictions, "baseline_model": baseline}
        inputs["baseline_predictions"] = baseline_predictions
        properties = {"pq_floor": 0.0, "allowed_drop": 0.0, "significance": "not_worse", "rules": "[]"}
        properties |= {"analysis": ANALYSIS, "gallery_images": 6} | thresholds
        self._do(
            panoptic_evaluator_executor.Executor, inputs, {"evaluation": evaluation, "blessing": blessing}, properties
        )
        return pathlib.Path(evaluation.uri), blessing

    def _do(self, executor, inputs, outputs, properties):
        context = BaseBeamExecutor.Context(beam_pipeline_args=BEAM_ARGS)
        executor(context).Do(
            {key: [artifact] if artifact else [] for key, artifact in inputs.items()},
            {key: [artifact] for key, artifact in outputs.items()},
            properties,
        )

    def _new(self, artifact_class):
        self.num_runs += 1
        artifact = artifact_class()
        artifact.uri = str(self.root / f"{artifact_class.__name__}_{self.num_runs}")
        return artifact


def _model(directory: pathlib.Path, model_id: int, **options) -> standard_artifacts.Model:
    directory.mkdir()
    save_model(directory / "Format-Serving", **options)
    model = standard_artifacts.Model()
    model.uri, model.id = str(directory), model_id
    return model


def _examples(directory: pathlib.Path, scenes) -> standard_artifacts.Examples:
    write_examples(directory, scenes, num_shards=2)
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.split_names = str(directory), artifact_utils.encode_split_names(["eval"])
    return artifact


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    root = tmp_path_factory.mktemp("node")
    examples = _examples(root / "examples", SCENES)
    (root / "examples" / "kept_aside.jsonl").write_text("".join(entry.to_json() + "\n" for entry in KEPT_ASIDE))
    (root / "examples" / "notices.jsonl").write_text('{"split": "eval", "reason": "box_leaves_photo"}\n' * 3)
    return Node(root, examples)


@pytest.fixture(scope="module")
def worse(tmp_path_factory):
    """Misses the dark discs: disc PQ 5 / 6."""
    return _model(tmp_path_factory.mktemp("models") / "worse", 11, threshold=128)


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    """Finds everything: PQ 1."""
    return _model(tmp_path_factory.mktemp("models") / "perfect", 12, threshold=50)


@pytest.fixture(scope="module")
def predictions_of_worse(node, worse):
    return node.predict(worse)


@pytest.fixture(scope="module")
def predictions_of_perfect(node, perfect):
    return node.predict(perfect)


def _gate(evaluation: pathlib.Path) -> dict:
    return json.loads((evaluation / "gate.json").read_text())


def test_a_semantic_model_is_evaluated_by_its_class_maps_and_judged_by_mean_iou(node, tmp_path):
    model = _model(tmp_path / "semantic", 13, task="semantic")
    evaluation, _ = node.evaluate(model, node.predict(model), pq_floor=0.9)
    areas = [sum(s.area_px for s in scene.segments if s.class_index == DISC) for scene in SCENES]
    missed, total = areas[2] + areas[3], sum(areas)
    ground = sum(scene.height_px * scene.width_px for scene in SCENES) - total
    mean_iou = ((total - missed) / total + ground / (ground + missed)) / 2
    metrics = json.loads((evaluation / "metrics.json").read_text())
    assert (metrics["task"], metrics["headline"]) == ("semantic", "mean_iou")
    assert metrics["analysis"]["slices"]["all images"]["scores"]["mean_iou"]["value"] == pytest.approx(mean_iou, abs=0)
    assert _gate(evaluation)["reasons"][0]["words"] == f"mIoU {mean_iou:.4f} does not reach the floor of 0.9000."
    assert f"<title>Semantic evaluation: mIoU {mean_iou:.3f}, not blessed</title>" in (
        evaluation / "report.html"
    ).read_text("utf-8")


def test_a_first_model_is_predicted_evaluated_blessed_and_reported(node, worse, predictions_of_worse):
    nothing = node.predict(None, worse, predictions_of_worse)
    assert PredictionSummary.load(nothing.uri).status == prediction_files.NO_BASELINE
    evaluation, blessing = node.evaluate(worse, predictions_of_worse, None, nothing, pq_floor=0.5)

    metrics = json.loads((evaluation / "metrics.json").read_text())
    assert metrics["num_images"] == 7
    assert metrics["summary"]["things"]["pq"] == 5 / 6
    assert [image["source_id"] for image in metrics["images"]] == [str(number) for number in range(1, 8)]
    assert _gate(evaluation)["outcome"] == "first_model"
    assert _gate(evaluation)["thresholds"] == {
        "pq_floor": 0.5,
        "allowed_drop": 0.0,
        "significance": "not_worse",
        "rules": [],
    }
    report = (evaluation / "report.html").read_text()
    assert report.count('src="data:image/jpeg;base64,') == (7 + 6) * 3  # Best and worst, and six at random.
    assert "2 × missing photo (train)" in report
    assert "<dt>Noticed</dt><dd>3 × box leaves photo (eval)</dd>" in report
    assert "<polyline" in report

    # What TFMA's readers read: the same sums, added up by TFMA.
    found = {key: value[""] for key, value in load_eval_result(str(evaluation)).slicing_metrics}
    assert set(found) == {(), (("num_segments", "2"),)}
    scores = metrics["analysis"]["slices"]["all images"]["scores"]
    for name in ("pq", "sq_things", "boundary_pq", "mean_iou", "pixel_accuracy"):
        assert found[()][""][name]["doubleValue"] == scores[name]["value"]
    assert found[()]["classId:1"]["pq"]["doubleValue"] == metrics["per_class"][1]["pq"] == 5 / 6
    assert load_validation_result(str(evaluation)).validation_ok

    # What Pusher and resolvers read.
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("current_model") == worse.uri
    assert blessing.get_int_custom_property("current_model_id") == 11
    assert not blessing.has_custom_property("baseline_model")
    assert [path.name for path in pathlib.Path(blessing.uri).iterdir()] == ["BLESSED"]


def test_a_model_below_the_last_blessed_one_is_not_blessed_unless_the_drop_is_allowed(
    node, worse, perfect, predictions_of_worse
):
    baseline_predictions = node.predict(perfect, worse, predictions_of_worse)
    evaluation, blessing = node.evaluate(worse, predictions_of_worse, perfect, baseline_predictions)
    # Two of seven images differ: every tenth resample has neither of them, so this is no proof, but no doubt either.
    assert _gate(evaluation)["outcome"] == "not_different"
    assert blessing.get_int_custom_property("blessed") == 0
    assert blessing.get_string_custom_property("baseline_model") == perfect.uri
    assert blessing.get_int_custom_property("baseline_model_id") == 12
    assert [path.name for path in pathlib.Path(blessing.uri).iterdir()] == ["NOT_BLESSED"]
    assert json.loads((evaluation / "metrics.json").read_text())["baseline"]["summary"]["all"]["pq"] == 1.0

    _, blessing = node.evaluate(worse, predictions_of_worse, perfect, baseline_predictions, allowed_drop=0.5)
    assert blessing.get_int_custom_property("blessed") == 1


def test_a_better_model_is_blessed_and_the_report_shows_the_change(
    node, worse, perfect, predictions_of_worse, predictions_of_perfect
):
    evaluation, blessing = node.evaluate(perfect, predictions_of_perfect, worse, predictions_of_worse)
    assert _gate(evaluation)["outcome"] == "not_different"
    assert blessing.get_int_custom_property("blessed") == 1
    assert "compared with the last blessed model" in (evaluation / "report.html").read_text()


def test_the_same_model_again_is_not_predicted_twice(node, worse, predictions_of_worse):
    pointer = node.predict(worse, worse, predictions_of_worse)
    assert [path.name for path in pathlib.Path(pointer.uri).iterdir()] == ["summary.json"]
    assert PredictionSummary.load(pointer.uri).predictions_uri == predictions_of_worse.uri
    evaluation, blessing = node.evaluate(worse, predictions_of_worse, worse, pointer)
    assert _gate(evaluation)["outcome"] == "same_model"
    assert blessing.get_int_custom_property("blessed") == 1


def test_a_baseline_with_other_classes_is_not_predicted_and_the_floor_alone_decides(
    node, worse, predictions_of_worse, tmp_path
):
    renamed = CategoryTable.from_coco([entry | {"name": entry["name"] + "s"} for entry in CATEGORIES.to_coco()])
    other = _model(tmp_path / "other", 13, categories=renamed)
    nothing = node.predict(other, worse, predictions_of_worse)
    evaluation, blessing = node.evaluate(worse, predictions_of_worse, other, nothing)
    assert _gate(evaluation)["outcome"] == "other_categories"
    assert "grounds (id 7, stuff)" in _gate(evaluation)["reasons"][1]["words"]
    assert blessing.get_int_custom_property("blessed") == 1


def test_a_candidate_with_other_classes_is_refused(node, tmp_path):
    fewer = CategoryTable.from_coco(CATEGORIES.to_coco()[:1])
    with pytest.raises(ValueError, match=r"same classes .*1 classes in the model and 2 in the examples"):
        node.predict(_model(tmp_path / "fewer", 14, categories=fewer))


def test_mistakes_in_wiring_are_named(node, worse, perfect, predictions_of_worse):
    with pytest.raises(ValueError, match="`model` must be a model"):
        node.predict(None)
    with pytest.raises(ValueError, match=r"`batch_size` must be positive. Received: 0"):
        node.predict(worse, batch_size=0)
    with pytest.raises(ValueError, match="`predictions` must be predictions of the model"):
        node.evaluate(perfect, predictions_of_worse)
    with pytest.raises(ValueError, match=r"`pq_floor` must be in 0..1. Received: 7"):
        node.evaluate(worse, predictions_of_worse, pq_floor=7.0)


def test_an_empty_split_is_not_blessed(tmp_path, worse):
    empty = Node(tmp_path, _examples(tmp_path / "empty", []))
    evaluation, blessing = empty.evaluate(worse, empty.predict(worse))
    assert _gate(evaluation)["outcome"] == "no_images"
    assert blessing.get_int_custom_property("blessed") == 0


def test_the_components_declare_what_the_executors_use():
    examples, model = (
        channel_utils.as_channel([artifact_class()])
        for artifact_class in (standard_artifacts.Examples, standard_artifacts.Model)
    )
    predictor = PanopticPredictor(examples=examples, model=model)
    baseline = PanopticPredictor(
        examples=examples,
        model=model,
        candidate_model=model,
        candidate_predictions=predictor.outputs["predictions"],
    ).with_id("BaselinePredictor")
    evaluator = PanopticEvaluator(
        examples=examples,
        model=model,
        baseline_model=model,
        predictions=predictor.outputs["predictions"],
        baseline_predictions=baseline.outputs["predictions"],
        pq_floor=0.3,
    )
    assert (predictor.id, baseline.id, evaluator.id) == ("PanopticPredictor", "BaselinePredictor", "PanopticEvaluator")
    assert set(evaluator.outputs) == {"evaluation", "blessing"}
    assert evaluator.exec_properties == {
        "pq_floor": 0.3,
        "allowed_drop": 0.0,
        "significance": "not_worse",
        "rules": "[]",
        "analysis": '{"slices": [], "class_groups": {}, "num_resamples": 1000, "confidence": 0.95}',
        "gallery_images": 6,
    }
    # Vertex AI translates the ids of a blessing only for subclasses of TFX's own executor.
    assert issubclass(evaluator.executor_spec.executor_class, tfx_evaluator.Executor)
    with pytest.raises(ValueError, match="belong together"):
        PanopticPredictor(examples=examples, model=model, candidate_model=model)


def test_a_tracker_that_is_away_stops_no_gate(tmp_path, monkeypatch, caplog):
    # With or without MLflow's package; its client tries once.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = TrackedRun(tracker="mlflow", uri="http://127.0.0.1:9", project="photos", run_id="7f")
    write_tracked_run(str(tmp_path / "assets.extra"), run)
    quality = types.SimpleNamespace(all=types.SimpleNamespace(pq=0.5, sq=1.0, rq=0.5))
    with caplog.at_level("WARNING", logger="absl"):
        panoptic_evaluator_executor._report_to_tracker(
            str(tmp_path), str(tmp_path), types.SimpleNamespace(quality=quality), True
        )
    assert "The report is not in the tracker: " in caplog.text
