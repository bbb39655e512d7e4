"""A model is scored on folders of any form, by numbers that a person can work out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from components.panoptic_evaluator import evaluate
from maskformer_model.categories import CategoryTable
from maskformer_model.data.panoptic_png import encode_panoptic_png
from tests.components.brightness_model import save_model

NAMES = ("ground", "disc")
HEIGHT, WIDTH = 20, 30
GROUND, DISC = 1, 2


def write_photo(path, bright):
    """A photo that is bright where the mask is, in grays that JPEG does not move over the model's threshold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(np.where(bright, 230, 30)[..., None], 3, axis=-1).astype(np.uint8)).save(path)


def columns(first, last):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, first:last] = True
    return mask


def label_pngs(root, split, photos):
    """Photos and index PNGs; `photos` are pairs of what is bright and what is a disc."""
    for number, (bright, disc) in enumerate(photos):
        write_photo(root / split / f"{number}.png", bright)
        label = root / f"{split}_labels" / f"{number}.png"
        label.parent.mkdir(exist_ok=True)
        Image.fromarray(disc.astype(np.uint8)).save(label)
    (root / "classes.txt").write_text("\n".join(NAMES))


def coco_panoptic(root, split, photos):
    """COCO's panoptic json and PNGs, under names that are not COCO's own."""
    document = {
        "images": [],
        "annotations": [],
        "categories": [{"id": id_, "name": name, "isthing": id_ - 1} for id_, name in enumerate(NAMES, start=1)],
    }
    pngs = root / "annotations" / f"panoptic_{split}"
    pngs.mkdir(parents=True)
    for number, (bright, disc) in enumerate(photos):
        write_photo(root / split / f"{number}.png", bright)
        (pngs / f"{number}.png").write_bytes(encode_panoptic_png(np.where(disc, 7, 5)))
        segments = [
            {"id": 5, "category_id": GROUND, "area": int((~disc).sum()), "iscrowd": 0},
            {"id": 7, "category_id": DISC, "area": int(disc.sum()), "iscrowd": 0},
        ]
        size = {"height": HEIGHT, "width": WIDTH}
        document["images"].append({"id": number, "file_name": f"{number}.png", **size})
        document["annotations"].append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(document))


def coco_instances(root, split, photos):
    """The same discs as single objects: nothing is said of the ground."""
    document = {
        "images": [],
        "annotations": [],
        "categories": [{"id": DISC, "name": NAMES[1]}],
    }
    for number, (bright, disc) in enumerate(photos):
        write_photo(root / split / f"{number}.png", bright)
        first, end = np.flatnonzero(disc.any(axis=0))[[0, -1]] + (0, 1)
        outline = [int(first), 0, int(end), 0, int(end), HEIGHT, int(first), HEIGHT]
        document["images"].append({"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH})
        box = [int(first), 0, int(end - first), HEIGHT]
        segment = {"id": number + 1, "image_id": number, "category_id": DISC, "iscrowd": 0, "bbox": box}
        document["annotations"].append({**segment, "segmentation": [outline], "area": int(disc.sum())})
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models that call a disc what is bright, by task, with the ids that the two forms have."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for task, first_id, isthing in (("semantic", 0, 0), ("panoptic", 1, 1)):
        table = [{"id": first_id, "name": "ground", "isthing": 0}, {"id": first_id + 1, "name": "disc"}]
        table[1]["isthing"] = isthing
        made[task] = save_model(folder / task, task=task, categories=CategoryTable.from_coco(table))
    return made


# One photo as it should be, and one whose disc is half as wide as what is bright: 5 and 10 of 30 columns.
PHOTOS = ((columns(0, 10), columns(0, 10)), (columns(0, 10), columns(0, 5)))
MEAN_IOU = ((20 + 20) / (20 + 25) + (10 + 5) / (10 + 10)) / 2


def scores(capsys, *flags):
    assert evaluate.main([str(flag) for flag in flags]) == 0
    return capsys.readouterr().out


def test_a_semantic_model_is_scored_on_label_pngs(tmp_path, models, capsys):
    label_pngs(tmp_path / "data", "train", PHOTOS[:1])
    label_pngs(tmp_path / "data", "val", PHOTOS)
    output = tmp_path / "scores.json"
    out = scores(capsys, "--model", models["semantic"], "--data", tmp_path / "data", "--output", output)
    assert f"mIoU {MEAN_IOU:.4f}" in out
    assert "Of 2 photos (layout label_png); skipped: 0\n" in out
    assert "AP" not in out
    assert json.loads(output.read_text())["scores"]["mean_iou"] == pytest.approx(MEAN_IOU)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_panoptic_model_is_scored_on_the_only_split_of_a_folder(tmp_path, models, capsys, split):
    coco_panoptic(tmp_path / "data", split, PHOTOS)
    output = tmp_path / "scores.json"
    out = scores(capsys, "--model", models["panoptic"], "--data", tmp_path / "data", "--output", output)
    found = json.loads(output.read_text())
    # Ground: IoU 1 and 20 / 25. The disc of the second photo is covered by half: IoU 0.5 is no match.
    assert found["per_category"][str(GROUND)]["pq"] == pytest.approx((1 + 0.8) / 2)
    assert found["per_category"][str(DISC)]["pq"] == pytest.approx(1 / 2)
    assert f"mIoU {MEAN_IOU:.4f}" in out
    # COCO's IoU threshold of 0.5 is met by 0.5: both discs are found.
    assert "AP50 1.0000" in out


def test_things_have_the_same_scores_whether_the_truth_names_the_ground_or_not(tmp_path, models, capsys):
    # A disc that is found, one that is missed, and one that is found where there is another beside it.
    photos = (*PHOTOS, (columns(4, 14), columns(5, 15)), (columns(0, 6), columns(20, 30)))
    coco_panoptic(tmp_path / "panoptic", "val", photos)
    coco_instances(tmp_path / "instances", "val", photos)
    found, printed = {}, {}
    for form in ("panoptic", "instances"):
        output = tmp_path / f"{form}.json"
        printed[form] = scores(capsys, "--model", models["panoptic"], "--data", tmp_path / form, "--output", output)
        found[form] = json.loads(output.read_text())
    of_discs = [document["per_category"][str(DISC)] for document in found.values()]
    assert of_discs[0] == of_discs[1]
    assert of_discs[0]["pq"] == pytest.approx((1 + 9 / 11) / (2 + 1 / 2 * 2 + 1 / 2 * 2))
    assert found["panoptic"]["scores"]["ap50"] == found["instances"]["scores"]["ap50"]
    assert "what the model calls ground counts as background" in printed["instances"]
    assert "counts as background" not in printed["panoptic"]


def test_a_split_is_chosen_by_its_name(tmp_path, models, capsys):
    for split, photos in (("train", PHOTOS[:1]), ("val", PHOTOS), ("test", PHOTOS[1:])):
        coco_panoptic(tmp_path / split, split, photos)
    data = tmp_path / "train"
    for split in ("val", "test"):
        for name in (f"{split}", f"annotations/panoptic_{split}", f"annotations/panoptic_{split}.json"):
            (tmp_path / split / name).rename(data / name)
    shown = [scores(capsys, "--model", models["panoptic"], "--data", data, "--split", s) for s in ("train", "test")]
    shown.append(scores(capsys, "--model", models["panoptic"], "--data", data))
    assert [text.splitlines()[-1].partition(" (")[0] for text in shown] == ["Of 1 photos", "Of 1 photos", "Of 2 photos"]
    assert "mIoU 1.0000" in shown[0]
    assert "mIoU 0.6500" in shown[1]  # (20 / 25 + 5 / 10) / 2.


def test_a_damaged_photo_is_skipped_and_counted_and_other_classes_are_refused(tmp_path, models, capsys):
    label_pngs(tmp_path / "data", "val", PHOTOS * 12)
    photo = tmp_path / "data" / "val" / "3.png"
    photo.write_bytes(photo.read_bytes()[:60])
    out = scores(capsys, "--model", models["semantic"], "--data", tmp_path / "data")
    assert "Of 23 photos (layout label_png); skipped: 1\n  3.png: damaged_photo: " in out
    assert evaluate.main(["--model", str(models["panoptic"]), "--data", str(tmp_path / "data")]) == 2
    assert "must have the same classes in the same order" in capsys.readouterr().err
    for name in ("7.png", "8.png"):
        (tmp_path / "data" / "val" / name).write_bytes(b"no photo")
    assert evaluate.main(["--model", str(models["semantic"]), "--data", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert "a share of at most 0.05 may be bad. Received: 3 of 24\n  3.png: damaged_photo" in error
    assert "8.png: not_an_image" in error


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path, models, capsys):
    label_pngs(tmp_path / "data", "train", PHOTOS)
    label_pngs(tmp_path / "data", "val", PHOTOS)
    command = ["--model", str(models["semantic"]), "--data", str(tmp_path / "data"), "--split", "test"]
    assert evaluate.main(command) == 2
    assert "no photos of the split test. Splits that were found: train, val." in capsys.readouterr().err
