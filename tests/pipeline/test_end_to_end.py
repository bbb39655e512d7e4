"""The whole way, from drawn scenes to a served model, by the command's own `main`.

One root is used from the first run to the last, as a user would, so the tests build on each other's runs: a run that
trains is the expensive part, and all but the first find its result in the cache.
"""

import json
import os
import pathlib
import shutil

import pytest

from pipeline import run_local
from pipeline.local_run.generated_data import GeneratedDataConfig, ensure_generated_data
from tests.maskformer_model.helpers.families import EOMT

pytestmark = [pytest.mark.slow, pytest.mark.takes(seconds=270)]
NUM_TRAIN, NUM_EVAL = 24, 5
SHORT = (
    "task.train_data.global_batch_size=4,trainer.train_steps=2,trainer.steps_per_loop=1,trainer.optimizer.drop_steps=[]"
)
# As small as the architecture allows: what is tested is the way, not the model. `test_four_layouts` sends the backbone
# of the experiment itself and a Mask2Former along it.
TINY_MODEL = (
    "task.model.backbone.type=resnet,task.model.backbone.stage_blocks=[1,1,1,1],task.model.backbone.stem_channels=8,"
    "task.model.backbone.res2_channels=16,task.model.backbone.bottleneck_channels=4,task.init_checkpoint=,"
    "task.model.num_queries=8,task.model.num_decoder_layers=1,task.model.which_pixel_decoder=fpn,"
    "task.model.hidden_dim=32,task.model.pixel_decoder_dim=32,task.model.mask_dim=32,"
    f"{SHORT}"
)
TINY_EOMT = f"{EOMT},{SHORT}"
NODES = [
    "CocoExampleGen",
    "SchemaGen",
    "latest_blessed_model",
    "StatisticsGen",
    "Transform",
    "DriftGate",
    "ExampleValidator",
    "AnomalyGate",
    "Trainer",
    "InfraValidator",
    "PanopticPredictor",
    "BaselinePredictor",
    "PanopticEvaluator",
    "Pusher",
]


def run(root, *flags, overrides=TINY_MODEL):
    """Runs the pipeline and returns exit status and summary."""
    status = run_local.main(
        [
            *("--root", str(root), "--params_override", overrides),
            *("--generated_train_images", str(NUM_TRAIN), "--generated_eval_images", str(NUM_EVAL)),
            *flags,
        ]
    )
    return status, json.loads((root / "summary.json").read_text())


def nodes_that_ran(summary):
    return [name for name, node in summary["components"].items() if node["state"] == "ran"]


def versions(root):
    return sorted(os.listdir(root / "serving")) if (root / "serving").exists() else []


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root whose scenes are drawn, with one photo of the train split gone."""
    folder = tmp_path_factory.mktemp("root")
    data = folder / "data" / "generated"
    ensure_generated_data(data, GeneratedDataConfig(num_train=NUM_TRAIN, num_val=NUM_EVAL))
    first_photo(data, "train2017").unlink()
    return folder


@pytest.fixture(scope="module")
def first(root):
    """The run that everything else builds on."""
    return run(root)


@pytest.fixture(scope="module")
def second(root, first):
    """The same run again."""
    return run(root)


def first_photo(data, split):
    return sorted((pathlib.Path(data) / split).iterdir())[0]


def test_the_first_run_ends_with_a_pushed_model_and_a_report(root, first):
    status, summary = first
    assert (status, summary["state"], summary["failure"]) == (0, "succeeded", None)
    assert list(summary["components"]) == NODES
    assert [name for name in NODES if name not in nodes_that_ran(summary)] == ["latest_blessed_model"]
    assert summary["images"] == NUM_EVAL
    assert all(0 <= summary[name] <= 1 for name in ("pq", "sq", "rq", "pq_things", "pq_stuff"))
    assert (summary["blessed"], summary["pushed_now"]) == (True, True)
    assert summary["pushed_model"] == str(root / "serving" / versions(root)[0])
    assert "<html" in pathlib.Path(summary["report"]).read_text()[:1000]
    assert pathlib.Path(summary["log"]).stat().st_size > 1000
    assert all(node["seconds"] > 0 and node["peak_memory_mb"] > 100 for node in summary["components"].values())


def test_a_photo_that_is_gone_is_kept_aside_and_counted(first):
    _, summary = first
    assert summary["kept_aside"] == {"missing_photo": 1}
    [line] = pathlib.Path(summary["kept_aside_list"]).read_text().splitlines()
    assert json.loads(line)["reason"] == "missing_photo"


def test_the_pushed_model_carries_the_facts_of_its_data(root, first):
    facts = json.loads((pathlib.Path(first[1]["pushed_model"]) / "assets.extra" / "data_facts.json").read_text())
    document = json.loads((root / "data" / "generated" / "annotations" / "panoptic_train2017.json").read_text())
    gone = min(image["file_name"] for image in document["images"])
    entries = [entry for entry in document["annotations"] if not entry["file_name"].startswith(gone.split(".")[0])]
    segments = [segment for entry in entries for segment in entry["segments_info"]]
    assert facts["num_photos"] == len(entries) == NUM_TRAIN - 1
    for found, category in zip(facts["classes"], document["categories"], strict=True):
        areas = [segment["area"] for segment in segments if segment["category_id"] == category["id"]]
        assert (found["name"], found["segments"], found["pixels"]) == (category["name"], len(areas), sum(areas))


def test_the_pushed_model_answers_with_a_map_of_the_photo_s_size(root, first):
    import tensorflow as tf

    from maskformer_model.data.panoptic_png import decode_panoptic_png

    photo = first_photo(root / "data" / "generated", "val2017")
    serve = tf.saved_model.load(first[1]["pushed_model"]).signatures["serving_default"]
    answer = serve(tf.constant([photo.read_bytes()]))
    height, width = tf.io.decode_image(photo.read_bytes()).shape[:2]
    assert decode_panoptic_png(answer["panoptic_png_bytes"].numpy()[0]).shape == (height, width)


def test_a_second_run_neither_ingests_nor_trains_nor_predicts_nor_pushes(root, first, second):
    status, summary = second
    assert status == 0
    # The first run's model is the baseline now; that it is the candidate itself is all there is to find out.
    assert nodes_that_ran(summary) == ["DriftGate", "BaselinePredictor", "PanopticEvaluator", "Pusher"]
    assert (summary["blessed"], summary["pushed_now"]) == (True, False)
    assert summary["pushed_model"] == first[1]["pushed_model"]
    assert len(versions(root)) == 1
    numbers = ("pq", "sq", "rq", "pq_things", "pq_stuff", "images", "kept_aside", "data_fingerprint")
    assert [summary[name] for name in numbers] == [first[1][name] for name in numbers]


def test_a_third_run_reuses_everything(root, second):
    status, summary = run(root)
    assert (status, nodes_that_ran(summary)) == (0, [])
    assert (summary["pushed_model"], summary["pushed_now"]) == (second[1]["pushed_model"], False)
    assert summary["pq"] == second[1]["pq"]
    assert os.path.exists(summary["report"])


def test_a_changed_floor_re_runs_the_gate_and_what_follows(root, second):
    status, summary = run(root, "--pq_floor", "1")
    assert (status, nodes_that_ran(summary)) == (0, ["PanopticEvaluator", "Pusher"])
    assert (summary["blessed"], summary["pushed_model"]) == (False, None)
    assert "does not reach the floor" in " ".join(summary["verdict"])
    assert len(versions(root)) == 1


def test_a_model_is_pushed_again_where_nothing_serves_any_more(root, second):
    shutil.rmtree(root / "serving")
    status, summary = run(root)
    assert (status, nodes_that_ran(summary)) == (0, ["Pusher"])
    assert summary["pushed_now"]
    assert [summary["pushed_model"]] == [str(root / "serving" / version) for version in versions(root)]


def test_too_many_bad_records_stop_the_run_and_say_so(root, second, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(root / "data" / "generated", data)
    for photo in sorted((data / "train2017").iterdir())[:5]:
        photo.write_bytes(photo.read_bytes()[:100])
    status, summary = run(root, "--data", str(data), "--experiment", "generated_scenes")
    assert (status, summary["state"]) == (1, "failed")
    assert summary["failure"]["component"] == "CocoExampleGen"
    assert "max_kept_aside_share" in summary["failure"]["reason"]
    assert "Traceback" not in summary["failure"]["reason"]
    assert summary["components"]["CocoExampleGen"]["state"] == "failed"
    assert (summary["pq"], summary["blessed"], summary["pushed_model"], summary["report"]) == (None,) * 4


def test_a_changed_photo_is_ingested_and_an_eomt_trained_on_it_is_compared_with_the_last_model(root, first):
    photo = first_photo(root / "data" / "generated", "train2017")
    photo.write_bytes(photo.read_bytes() + b"\0")  # The same picture, the same size in pixels, another file.
    status, summary = run(root, overrides=TINY_EOMT)
    assert status == 0
    ran = nodes_that_ran(summary)
    assert {"CocoExampleGen", "StatisticsGen", "Trainer", "PanopticPredictor", "BaselinePredictor"} <= set(ran)
    assert "SchemaGen" not in ran
    assert summary["data_fingerprint"] != first[1]["data_fingerprint"]
    assert "of the last blessed model" in " ".join(summary["verdict"])


def test_a_copied_data_set_is_not_ingested_again_for_its_new_time_stamps(root, first):
    data = root / "data" / "generated"
    for path in data.rglob("*"):
        os.utime(path)
    _, summary = run(root, overrides=TINY_EOMT)
    assert "CocoExampleGen" not in nodes_that_ran(summary)


def test_a_setting_that_cannot_be_trained_fails_in_the_trainer_and_leaves_what_serves(root, first):
    before = versions(root)
    status, summary = run(root, overrides=TINY_MODEL + ",task.model.num_classes=3")
    assert (status, summary["failure"]["component"]) == (1, "Trainer")
    assert "`task.model.num_classes` must be 0" in summary["failure"]["reason"]
    assert versions(root) == before


def test_metadata_that_cannot_be_read_fails_the_run_in_words(root, tmp_path):
    shutil.copytree(root / "data", tmp_path / "data")
    (tmp_path / "metadata.sqlite").write_text("not a database, " * 100)
    status, summary = run(tmp_path)
    assert (status, summary["state"]) == (1, "failed")
    assert "metadata.sqlite is damaged. Put a copy of it there" in summary["failure"]["reason"]
    assert "Traceback" not in summary["failure"]["reason"]
