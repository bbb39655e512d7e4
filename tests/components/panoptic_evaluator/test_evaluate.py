"""The command that scores files: the official numbers, one answer for any number of workers, no mercy for bad input."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from components.panoptic_evaluator import evaluate
from components.panoptic_evaluator.coco_files.task_pool import MAX_ATTEMPTS, map_tasks
from maskformer_model.data import panoptic_png

CATEGORIES = [
    {"id": 10, "name": "cat", "isthing": 1},
    {"id": 20, "name": "sky", "isthing": 0},
    {"id": 30, "name": "dog", "isthing": 1},
]
NUM_IMAGES = 20


class Dataset:
    """A COCO panoptic json with its PNGs, `ids` by image id; every odd id is a cat and every even one sky."""

    def __init__(self, folder: pathlib.Path, name: str, ids: dict[int, np.ndarray]):
        self.path, self.folder = folder / f"{name}.json", folder / name
        self.folder.mkdir()
        self.document = {"images": [], "annotations": [], "categories": copy.deepcopy(CATEGORIES)}
        for image_id, pixels in ids.items():
            self.write_png(image_id, pixels)
            numbers, areas, _ = panoptic_png.segment_extents(pixels)
            segments = [
                {"id": n, "category_id": 10 if n % 2 else 20, "area": a, "iscrowd": 0}
                for n, a in zip(numbers.tolist(), areas.tolist(), strict=True)
            ]
            height, width = pixels.shape
            self.document["images"].append({"id": image_id, "height": height, "width": width})
            self.document["annotations"].append(
                {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments}
            )
        self.save()

    def write_png(self, image_id, pixels):
        (self.folder / f"{image_id}.png").write_bytes(panoptic_png.encode_panoptic_png(pixels))

    def save(self):
        self.path.write_text(json.dumps(self.document))


def maps(rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    return {image_id: np.sort(rng.integers(0, 6, (4, 9)), axis=1) for image_id in range(1, NUM_IMAGES + 1)}


@pytest.fixture
def truth(tmp_path):
    return Dataset(tmp_path, "truth", maps())


@pytest.fixture
def prediction(tmp_path):
    return Dataset(tmp_path, "prediction", maps())


def run(truth, prediction, *flags):
    output = truth.path.parent / "numbers.json"
    files = ["--gt_json_file", str(truth.path), "--pred_json_file", str(prediction.path), "--output", str(output)]
    status = evaluate.main([*files, *flags])
    return status, json.loads(output.read_text()) if status == 0 else None


def test_the_official_evaluation_gives_the_same_numbers_for_any_number_of_workers(shared_dir, tmp_path):
    golden = shared_dir / "data/golden/panoptic_quality"
    truth = shared_dir / "data/coco_panoptic/annotations/panoptic_val2017.json"
    files = ["--gt_json_file", str(truth), "--pred_json_file", str(golden / "predictions.json")]
    texts = set()
    for num_workers in ("1", "2", "3"):
        output = tmp_path / f"{num_workers}.json"
        assert evaluate.main([*files, "--output", str(output), "--num_workers", num_workers]) == 0
        texts.add(output.read_text())
    [text] = texts
    ours, expected = json.loads(text), json.loads((golden / "expected.json").read_text())
    for name, row in expected["summary"].items():
        assert ours["summary"][name] == pytest.approx(row, abs=1e-9)
    assert ours["per_category"].keys() == expected["per_category"].keys()
    for category_id, row in expected["per_category"].items():
        of_ours = ours["per_category"][category_id]
        assert [of_ours[key] for key in ("tp", "fp", "fn")] == [row[key] for key in ("tp", "fp", "fn")]
        assert of_ours == pytest.approx(row, abs=1e-9)


def test_hand_counted_numbers_and_their_layout(tmp_path, capsys):
    # Cat: 3 of 4 px found (IoU 3/4). Sky: missed. A dog that is nowhere: a false positive on the sky.
    truth = Dataset(tmp_path, "truth", {7: np.array([[1, 1, 1, 1, 2, 2]])})
    prediction = Dataset(tmp_path, "prediction", {7: np.array([[1, 1, 1, 0, 3, 3]])})
    prediction.document["annotations"][0]["segments_info"][1]["category_id"] = 30
    prediction.save()
    status, document = run(truth, prediction)
    assert status == 0
    assert document["per_category"] == {
        "10": {"pq": 0.75, "sq": 0.75, "rq": 1.0, "tp": 1, "fp": 0, "fn": 0, "iou": 0.75},
        "20": {"pq": 0.0, "sq": 0.0, "rq": 0.0, "tp": 0, "fp": 0, "fn": 1, "iou": 0.0},
        "30": {"pq": 0.0, "sq": 0.0, "rq": 0.0, "tp": 0, "fp": 1, "fn": 0, "iou": 0.0},
    }
    assert document["summary"] == {
        "All": {"pq": 0.25, "sq": 0.25, "rq": pytest.approx(1 / 3), "n": 3},
        "Things": {"pq": 0.375, "sq": 0.375, "rq": 0.5, "n": 2},
        "Stuff": {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 1},
    }
    assert capsys.readouterr().out == (
        "          |    PQ     SQ     RQ     N\n"
        "--------------------------------------\n"
        "All       |  25.0   25.0   33.3     3\n"
        "Things    |  37.5   37.5   50.0     2\n"
        "Stuff     |   0.0    0.0    0.0     1\n"
    )


@pytest.mark.parametrize("num_workers", ["1", "2", "5"])
def test_the_truth_itself_scores_one(truth, prediction, num_workers):
    _, document = run(truth, prediction, "--num_workers", num_workers)
    assert document["summary"]["All"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 2}
    assert sum(row["fp"] + row["fn"] for row in document["per_category"].values()) == 0


def leave_out(prediction):
    del prediction.document["annotations"][3]


def add_unknown(prediction):
    prediction.document["annotations"].append(
        {"image_id": 99, "file_name": "99.png", "segments_info": prediction.document["annotations"][0]["segments_info"]}
    )


def repeat(prediction):
    prediction.document["annotations"].append(prediction.document["annotations"][0])


def change_size(prediction):
    prediction.write_png(2, maps()[2][:3])


def drop_segment(prediction):
    prediction.document["annotations"][1]["segments_info"].pop()


def invent_segment(prediction):
    prediction.document["annotations"][1]["segments_info"].append({"id": 77, "category_id": 10})


def unknown_category(prediction):
    prediction.document["annotations"][1]["segments_info"][0]["category_id"] = 5


def other_category_list(prediction):
    prediction.document["categories"][1]["isthing"] = 1


def score_nan(prediction):
    prediction.document["annotations"][1]["segments_info"][0]["score"] = float("nan")


def missing_png(prediction):
    (prediction.folder / "2.png").unlink()


def cut_png(prediction):
    path = prediction.folder / "2.png"
    path.write_bytes(path.read_bytes()[:50])


def gray_png(prediction):
    from PIL import Image

    Image.new("L", (9, 4)).save(prediction.folder / "2.png")


def no_list(prediction):
    prediction.document = [1, 2]


def no_id(prediction):
    del prediction.document["annotations"][0]["segments_info"][0]["id"]


def first_segment(**fields):
    def damage(prediction):
        prediction.document["annotations"][1]["segments_info"][0].update(fields)

    damage.__name__ = "_".join(f"{key}_{value}" for key, value in fields.items())
    return damage


def second_annotation(**fields):
    def damage(prediction):
        prediction.document["annotations"][1].update(fields)

    damage.__name__ = "_".join(f"{key}_{value}" for key, value in fields.items())
    return damage


def document_with(**fields):
    def damage(prediction):
        prediction.document.update(fields)

    damage.__name__ = "_".join(f"{key}_{value}" for key, value in fields.items())
    return damage


BAD_PREDICTIONS = {
    leave_out: "no prediction for 1 images of the truth, image ids: 4",
    add_unknown: "1 predictions are for images that are not in the truth, image ids: 99",
    repeat: "annotated once. Received more often, image ids: 1",
    change_size: "2.png must be of the photo's size (4, 9). Received: (3, 9)",
    drop_segment: "2.png (id 2): prediction: every id of the map must be in its segment list",
    invent_segment: "2.png (id 2): Every predicted segment needs a pixel in the predicted map. Received segments",
    unknown_category: "2.png (id 2): `category_id` must be one of the data set's 3 category ids. Received: 5",
    other_category_list: "only in the truth: sky (id 20, stuff); only in the prediction: sky (id 20, thing)",
    score_nan: "prediction.json: image 2: a segment's `score` must be a finite number",
    missing_png: "2.png",
    cut_png: "2.png: A panoptic PNG must be a whole PNG file",
    gray_png: "2.png: A panoptic PNG must be 8-bit RGB. Received: 8-bit grayscale",
    no_list: "must be a COCO panoptic json",
    no_id: "image 1: a segment's `id` must be a whole number in 1..16777215. Received: None",
    # Python would take a flag "0" for true, and 1.5 for 1.
    first_segment(iscrowd="0"): "image 2: a segment's `iscrowd` must be the number 0 or 1. Received: '0'",
    first_segment(id=1.5): "image 2: a segment's `id` must be a whole number in 1..16777215. Received: 1.5",
    first_segment(id=None): "image 2: a segment's `id` must be a whole number in 1..16777215. Received: None",
    first_segment(
        category_id="10"
    ): "image 2: a segment's `category_id` must be a whole number of 64 bits. Received: '10'",
    first_segment(area="9"): "image 2: a segment's `area` must be a number of 0 or more. Received: '9'",
    first_segment(score="0.5"): "image 2: a segment's `score` must be a finite number",
    second_annotation(segments_info=None): "`segments_info` must be a list of objects. Received for image 2: None",
    second_annotation(segments_info=["a"]): "`segments_info` must be a list of objects. Received for image 2: ['a']",
    second_annotation(image_id=[2]): "`image_id` must be a whole number or text. Received: [2]",
    # The truth's own PNG would score 1.
    second_annotation(
        file_name="../truth/2.png"
    ): "`file_name` must name a PNG in its folder. Received for image 2: '../",
    second_annotation(file_name="/2.png"): "`file_name` must name a PNG in its folder. Received for image 2: '/2.png'",
    second_annotation(file_name=None): "`file_name` must name a PNG in its folder. Received for image 2: None",
    document_with(categories=[3]): "prediction.json: `categories` must be a list of objects. Received: [3]",
    document_with(images=[3]): "prediction.json: `images` must be a list of objects. Received: [3]",
    document_with(images=[{"height": 4}]): "prediction.json: every image must have an `id`",
    document_with(images=[{"id": 1, "height": "4"}]): "prediction.json: every image must have an `id`, and a whole",
}


@pytest.mark.parametrize("num_workers", ["1", "2"])
@pytest.mark.parametrize(("damage", "message"), BAD_PREDICTIONS.items(), ids=[f.__name__ for f in BAD_PREDICTIONS])
def test_bad_predictions_are_an_error_that_names_them(truth, prediction, capsys, damage, message, num_workers):
    damage(prediction)
    prediction.save()
    assert run(truth, prediction, "--num_workers", num_workers) == (2, None)
    assert message in capsys.readouterr().err
    assert not (truth.path.parent / "numbers.json").exists()


def test_a_truth_without_images_is_an_error(tmp_path, prediction, capsys):
    assert run(Dataset(tmp_path, "empty", {}), prediction) == (2, None)
    assert "there must be an annotated image to evaluate" in capsys.readouterr().err


def test_an_unlisted_id_of_the_truth_is_an_error(truth, prediction, capsys):
    truth.document["annotations"][0]["segments_info"].pop()
    truth.save()
    assert run(truth, prediction) == (2, None)
    assert "truth: every id of the map must be in its segment list" in capsys.readouterr().err


def test_a_category_of_the_truth_that_is_not_listed_is_an_error(truth, prediction, capsys):
    first_segment(category_id=5)(truth)
    truth.save()
    assert run(truth, prediction) == (2, None)
    assert "2.png (id 2): `category_id` must be one of the data set's 3 category ids" in capsys.readouterr().err


def test_a_crowd_flag_of_the_truth_that_is_text_excuses_nothing(truth, prediction, capsys):
    first_segment(iscrowd="0")(truth)
    truth.save()
    assert run(truth, prediction) == (2, None)
    assert "truth.json: image 2: a segment's `iscrowd` must be the number 0 or 1" in capsys.readouterr().err


def test_images_may_have_names_for_ids(truth, prediction):
    for dataset in (truth, prediction):
        for entry, key in (
            (e, k) for n, k in (("images", "id"), ("annotations", "image_id")) for e in dataset.document[n]
        ):
            entry[key] = f"aachen_{entry[key]}"
        dataset.save()
    status, document = run(truth, prediction)
    assert (status, document["summary"]["All"]["pq"]) == (0, 1.0)


def test_an_area_that_is_not_that_of_the_pixels_is_an_error_that_names_both_numbers(truth, prediction, capsys):
    # A quarter of the pixels would make every IoU four times too large.
    for segment in truth.document["annotations"][0]["segments_info"]:
        segment["area"] = 4 * segment["area"]
    truth.save()
    assert run(truth, prediction) == (2, None)
    assert "`area` is " in capsys.readouterr().err
    # As ADE20K states stuff, an area may be larger on request; the score says so, and is no better for it.
    status, document = run(truth, prediction, "--areas", "json")
    assert (status, document["areas"]) == (0, "json")
    assert document["summary"]["All"]["pq"] < 1
    assert "--areas json" in capsys.readouterr().out
    for segment in truth.document["annotations"][0]["segments_info"]:
        segment["area"] = 0
    truth.save()
    assert run(truth, prediction, "--areas", "json") == (2, None)


def test_image_ids_that_are_text_numbers_or_whole_floats_meet(truth, prediction, capsys):
    for annotation in prediction.document["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    prediction.document["annotations"][0]["image_id"] = 1.0
    prediction.save()
    assert run(truth, prediction)[0] == 0
    prediction.document["annotations"][0]["image_id"] = "0001"
    prediction.save()
    assert run(truth, prediction) == (2, None)
    assert "'1' in the truth, '0001' in the prediction" in capsys.readouterr().err


def test_one_png_for_two_images_is_an_error(truth, prediction, capsys):
    prediction.document["annotations"][1]["file_name"] = "./1.png"
    prediction.save()
    assert run(truth, prediction) == (2, None)
    assert "a PNG of its own" in capsys.readouterr().err


def square_or_die(task):
    """Squares a number; the task that finds its mark absent sets it and kills its process."""
    number, mark = task
    if mark and not os.path.exists(mark):
        pathlib.Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def test_a_worker_that_dies_is_replaced_and_no_task_is_done_twice(tmp_path):
    tasks = [(n, str(tmp_path / "died") if n == 5 else "") for n in range(40)]
    assert sorted(map_tasks(square_or_die, tasks, 2)) == [n**2 for n in range(40)]
    assert (tmp_path / "died").exists()


def test_workers_that_keep_dying_are_an_error(tmp_path):
    absent = str(tmp_path / "absent" / "mark")
    with pytest.raises(RuntimeError, match=f"died {MAX_ATTEMPTS} times"):
        list(map_tasks(always_die, [(n, absent) for n in range(4)], 2))


def always_die(task):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--gt_json_file and --pred_json_file are needed"),
        (["--model", "m"], "--model and --data belong together"),
        (
            ["--model", "m", "--data", "d", "--split", "val2017"],
            "--split must be train, val or test without --predictions",
        ),
        (["--model", "m", "--data", "d", "--predictions", "p", "--things", "a"], "are for --model and --data without"),
        (
            ["--gt_json_file", "g", "--pred_json_file", "p", "--layout", "label_png"],
            "are for --model and --data without",
        ),
        (["--model", "m", "--data", "d", "--layout", "voc"], "--layout: `layout` must be 'auto' or one of ['coco_pan"),
        (["--model", "m", "--data", "d", "--areas", "json"], "a layout of --data has its own rule"),
        (["--model", "m", "--data", "d", "--predictions", "p", "--gt_json_file", "g"], "either --model with --data"),
        (["--gt_json_file", "g", "--pred_json_file", "p", "--num_workers", "0"], "--num_workers must be positive"),
        (
            ["--gt_json_file", "g", "--pred_json_file", "p", "--output", "no/n.json"],
            "--output must be a file in a folder",
        ),
        (["--gt_json_file", "g", "--pred_json_file", "p", "--output", "."], "--output must be a file in a folder"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.parse_args(flags)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_neither_help_nor_an_evaluation_imports_tensorflow_or_beam(truth, prediction):
    program = (
        "import sys; from components.panoptic_evaluator import evaluate; "
        f"evaluate.main(['--gt_json_file', {str(truth.path)!r}, '--pred_json_file', {str(prediction.path)!r}]); "
        "assert not {'tensorflow', 'apache_beam', 'tfx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
