"""The command and the Python API on a small exported model."""

from __future__ import annotations

import io
import json
import os
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import maskformer_model
from maskformer_model import command_errors, predict
from maskformer_model.data.panoptic_png import decode_panoptic_png, segment_extents
from maskformer_model.data.photo_files import PhotoError
from maskformer_model.predict import image_ids_of
from maskformer_model.prediction.writer import PredictionWriter, unique_names
from tests.maskformer_model.helpers.small_export import CATEGORIES, MAX_PIXELS, encoded, photo


@pytest.fixture(scope="module")
def serving_dir(exported) -> pathlib.Path:
    """A folder of versions that holds one."""
    return exported[0].parent


@pytest.fixture(scope="module")
def model(serving_dir):
    return maskformer_model.MaskFormer.from_directory(serving_dir)


def turned(image: np.ndarray) -> bytes:
    """A JPEG stored a quarter turn to the left of how it is shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(image).transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


def test_a_photo_in_any_form_gets_the_same_result(model, tmp_path):
    image = photo(50, 80)
    (tmp_path / "photo.png").write_bytes(encoded(image))
    (tmp_path / "photo.bmp").write_bytes(encoded(image, "BMP"))
    first = model.predict(image)
    assert first.segment_ids.shape == (50, 80) and len(first.segments) > 1
    for source in (tmp_path / "photo.png", str(tmp_path / "photo.bmp"), encoded(image), Image.fromarray(image)):
        other = model.predict(source)
        np.testing.assert_array_equal(other.segment_ids, first.segment_ids)
        assert other.segments == first.segments


def test_a_result_can_be_looked_at_stored_and_submitted(model):
    result = model.predict(photo(50, 80))
    assert result.plot().size == (80, 50)
    assert "segments" in repr(result) and len(repr(result)) < 5000
    ids, areas, boxes = segment_extents(decode_panoptic_png(result.coco_png()))
    entry = result.coco_annotation(7, "7.png")
    assert [info["id"] for info in entry["segments_info"]] == ids.tolist()
    assert [info["area"] for info in entry["segments_info"]] == areas.tolist()
    assert [info["bbox"] for info in entry["segments_info"]] == boxes.tolist()
    assert {info["category_id"] for info in entry["segments_info"]} <= set(CATEGORIES.category_ids.tolist())
    assert json.loads(json.dumps(entry)) == entry
    assert result.arrays()["names"].tolist() == [segment.name for segment in result.segments]


def test_a_turned_photo_is_segmented_as_it_is_shown(model):
    image = photo(50, 80)
    assert model.predict(turned(image)).segment_ids.shape == (50, 80)
    assert model.predict(turned(image), upright=False).segment_ids.shape == (80, 50)


@pytest.mark.parametrize("flag", ["object_mask_threshold", "overlap_threshold"])
@pytest.mark.parametrize("value", ["80", "-0.1", "nan"])
def test_a_threshold_that_is_no_share_is_refused(capsys, flag, value):
    with pytest.raises(SystemExit) as ended:
        predict.parse_args(["--model", "m", "--images", "i", "--output", "o", f"--{flag}={value}"])
    assert ended.value.code == 2
    assert f"`--{flag}` must be from 0 to 1. Received: {float(value)}" in capsys.readouterr().err


def test_thresholds_of_the_call_win(model):
    assert model.predict(photo(50, 80), object_mask_threshold=1.0).segments == ()


def test_semantic_and_instance_results(model):
    image = photo(50, 80)
    semantic = model.predict_semantic(image)
    assert semantic.class_map.shape == (50, 80) and set(np.unique(semantic.class_map)) <= set(range(4))
    assert semantic.plot().size == (80, 50)
    instances = model.predict_instances(image)
    assert instances.masks.shape == (len(instances.segments), 50, 80)
    assert [s.area_px for s in instances.segments] == instances.masks.sum(axis=(1, 2)).tolist()
    assert [s.score for s in instances.segments] == sorted((s.score for s in instances.segments), reverse=True)
    assert all(segment.isthing for segment in instances.segments)
    assert instances.plot(min_score=0.0).size == (80, 50)
    from pycocotools import mask as coco_mask

    first = instances.coco_results(3)[0]
    np.testing.assert_array_equal(coco_mask.decode(first["segmentation"]), instances.masks[0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "whole image file"),
        (b"no photo", "whole image file"),
        (encoded(photo(40, 60))[:-300], "cut off or damaged"),
        (encoded(photo(500, 500)), f"at most {MAX_PIXELS} pixels"),
        (np.zeros((4, 4), np.uint8), r"uint8 \[height, width, 3\]"),
        (np.zeros((4, 0, 3), np.uint8), r"uint8 \[height, width, 3\]"),
    ],
    ids=["empty", "text", "cut", "large", "gray array", "empty array"],
)
def test_a_bad_photo_is_named(model, bad, message):
    with pytest.raises(PhotoError, match=message):
        model.predict(bad)


def test_an_animation_is_refused(model):
    frames = [Image.fromarray(photo(20, 30, seed=seed)) for seed in (1, 2)]
    with pytest.raises(PhotoError, match="one frame. Received an animation of 2"):
        model.predict(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))


def test_the_model_reads_a_phone_s_jpeg_with_a_preview_as_the_jpeg(model):
    image, preview = Image.fromarray(photo(40, 60)), Image.fromarray(photo(20, 30))
    found = model.predict(encoded(image, "MPO", save_all=True, append_images=[preview]))
    np.testing.assert_array_equal(found.segment_ids, model.predict(encoded(image, "JPEG")).segment_ids)


def test_a_16_bit_tiff_gets_the_answer_of_the_16_bit_png(model):
    gray = photo(40, 60)[..., 0].astype(np.uint16) * 256 + 77
    png, tiff = (model.predict(encoded(Image.fromarray(gray), form)) for form in ("PNG", "TIFF"))
    np.testing.assert_array_equal(tiff.segment_ids, png.segment_ids)
    np.testing.assert_array_equal(tiff.image, png.image)
    assert len(png.segments) > 1


def test_photos_that_were_done_stay_of_use_when_the_command_is_ended(serving_dir, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(encoded(photo(40, 60), "JPEG"))
    (photos / "0 broken.jpg").write_bytes(b"no photo")
    write = PredictionWriter.write

    def ended(writer, path, *rest):
        if path.endswith("2.jpg"):
            raise KeyboardInterrupt
        write(writer, path, *rest)

    monkeypatch.setattr(PredictionWriter, "write", ended)
    arguments = ["--model", str(serving_dir), "--images", str(photos), "--output", str(tmp_path / "out")]
    with pytest.raises(KeyboardInterrupt):
        predict.predict(predict.parse_args([*arguments, "--format", "coco_panoptic,label_studio"]))
    done = json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]
    assert [image["file_name"] for image in done] == ["0.jpg", "1.jpg"]
    assert len(json.loads(next((tmp_path / "out").rglob("tasks.json")).read_text())) == 2
    assert list(json.loads((tmp_path / "out" / "refused.json").read_text())) == [str(photos / "0 broken.jpg")]


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold saved_model.pb"):
        maskformer_model.MaskFormer.from_directory(tmp_path)


def test_the_command_writes_every_format_and_goes_on_after_a_bad_photo(serving_dir, tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    (photos / "000000000042.jpg").write_bytes(encoded(photo(40, 60), "JPEG"))
    (photos / "more" / "000000000042.png").write_bytes(encoded(photo(30, 20)))
    (photos / "broken.jpg").write_bytes(b"no photo")
    out = tmp_path / "out"
    arguments = ["--model", str(serving_dir), "--images", str(photos), "--output", str(out)]
    assert predict.main([*arguments, "--format", "overlay,coco_panoptic,npz"]) == predict.EXIT_REFUSED
    assert list(json.loads((out / "refused.json").read_text())) == [str(photos / "broken.jpg")]
    assert sorted(p.name for p in (out / "overlay").iterdir()) == ["000000000042-2.jpg", "000000000042.jpg"]
    document = json.loads((out / "panoptic.json").read_text())
    # Both would be 42, so each gets the unique name of its files.
    assert [a["image_id"] for a in document["annotations"]] == ["000000000042", "000000000042-2"]
    assert document["categories"] == CATEGORIES.to_coco()
    for annotation, shape in zip(document["annotations"], [(40, 60), (30, 20)], strict=True):
        ids = decode_panoptic_png((out / "panoptic" / annotation["file_name"]).read_bytes())
        assert ids.shape == shape
        assert sorted(set(np.unique(ids)) - {0}) == [info["id"] for info in annotation["segments_info"]]
        stored = np.load(out / "npz" / annotation["file_name"].replace(".png", ".npz"))
        np.testing.assert_array_equal(stored["segment_ids"], ids)

    pattern = str(photos / "**" / "*.png")
    arguments = ["--model", str(serving_dir), "--images", pattern, "--output", str(out)]
    assert predict.main([*arguments, "--task", "instance", "--format", "coco_results"]) == 0
    assert {entry["image_id"] for entry in json.loads((out / "instances.json").read_text())} == {42}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is always full")
@pytest.mark.parametrize(("form", "file"), [("overlay", "overlay/x.jpg"), ("coco_panoptic", "panoptic/x.png")])
def test_a_full_disk_ends_the_command_and_is_no_refusal(serving_dir, tmp_path, capsys, form, file):
    (tmp_path / "x.png").write_bytes(encoded(photo(40, 60)))
    full = tmp_path / "out" / file
    full.parent.mkdir(parents=True)
    full.symlink_to("/dev/full")
    arguments = ["--model", str(serving_dir), "--images", str(tmp_path / "x.png"), "--output", str(tmp_path / "out")]
    assert predict.main([*arguments, "--format", form]) == command_errors.EXIT_USAGE
    assert "No space left on device. Free space there" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "refused.json").read_text()) == {}


def test_a_photo_that_only_tensorflow_reads_is_refused_and_the_others_go_on(serving_dir, tmp_path):
    # Text after the pixels that unpacks to more than Pillow allows.
    text = zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK + 1))
    png = encoded(photo(40, 60))
    chunk = io.BytesIO()
    PngImagePlugin.putchunk(chunk, b"zTXt", b"Comment\0\0", text)
    (tmp_path / "a.png").write_bytes(png[:-12] + chunk.getvalue() + png[-12:])
    (tmp_path / "b.png").write_bytes(png)
    arguments = ["--model", str(serving_dir), "--images", str(tmp_path / "*.png"), "--output", str(tmp_path / "out")]
    assert predict.main(arguments) == predict.EXIT_REFUSED
    assert list(json.loads((tmp_path / "out" / "refused.json").read_text())) == [str(tmp_path / "a.png")]
    assert [path.name for path in (tmp_path / "out" / "overlay").iterdir()] == ["b.jpg"]


def test_wrong_commands_are_answered_with_status_2(serving_dir, tmp_path, capsys):
    arguments = ["--model", str(serving_dir), "--output", str(tmp_path)]
    assert predict.main([*arguments, "--images", str(tmp_path / "absent*.jpg")]) == command_errors.EXIT_USAGE
    assert "Nothing found at" in capsys.readouterr().err
    for wrong in (["--format", "pdf"], ["--task", "semantic", "--format", "coco_panoptic"]):
        with pytest.raises(SystemExit) as stopped:
            predict.main([*arguments, "--images", "x.jpg", *wrong])
        assert stopped.value.code == command_errors.EXIT_USAGE


def test_help_and_the_package_import_nothing_heavy(project_dir):
    code = "import sys, maskformer_model; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project_dir)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "maskformer_model.predict", "--help"],
        check=True,
        cwd=project_dir,
        capture_output=True,
        text=True,
    )
    assert "tensorflow" not in done.stderr and "numpy" not in done.stderr


def test_photos_of_one_stem_in_several_folders_get_an_image_id_each():
    paths = ["a/0001.jpg", "b/0001.jpg", "b/1.jpg", "b/7.jpg", "b/street.jpg"]
    ids = image_ids_of(paths, unique_names(paths))
    assert list(ids.values()) == ["0001", "0001-2", "1", 7, "street"]
