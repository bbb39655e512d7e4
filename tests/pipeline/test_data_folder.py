"""Tests of `pipeline.data_folder`."""

import pytest

from components.coco_example_gen.options import IngestOptions
from pipeline.data_folder import DataFolderError, check_data_dir


def make_split(root, name):
    (root / name).mkdir(parents=True)
    (root / "annotations" / f"panoptic_{name}").mkdir(parents=True)
    (root / "annotations" / f"panoptic_{name}.json").write_text("{}")


def missing_in(data_dir, **options):
    with pytest.raises(DataFolderError) as caught:
        check_data_dir(str(data_dir), IngestOptions(**options))
    return [line.split()[0] for line in str(caught.value).splitlines() if line.startswith("  ")], str(caught.value)


def test_a_missing_file_is_named_with_its_place(tmp_path):
    make_split(tmp_path, "train2017")
    make_split(tmp_path, "val2017")
    check_data_dir(str(tmp_path), IngestOptions())
    (tmp_path / "annotations" / "panoptic_val2017.json").unlink()
    missing, message = missing_in(tmp_path)
    assert missing == [f"{tmp_path}/annotations/panoptic_val2017.json"]
    assert message.endswith(f"{tmp_path} holds: annotations, train2017, val2017.")


def test_validation_photos_are_not_asked_for_where_the_train_photos_are_evaluated(tmp_path):
    make_split(tmp_path, "train2017")
    check_data_dir(str(tmp_path), IngestOptions(evaluate_on_train=True))
    assert len(missing_in(tmp_path)[0]) == 3


def test_a_folder_that_does_not_exist_is_said_so(tmp_path):
    missing, message = missing_in(tmp_path / "absent")
    assert len(missing) == 6
    assert message.endswith("absent is not a folder.")


def test_an_object_store_is_left_to_the_ingestion():
    check_data_dir("gs://bucket/coco", IngestOptions())


def test_the_ingestion_itself_expects_the_same_files(tmp_path):
    from components.coco_example_gen.coco_files import CocoFiles

    missing, _ = missing_in(tmp_path)
    for name in ("train2017", "val2017"):
        with pytest.raises(FileNotFoundError) as caught:
            CocoFiles(str(tmp_path), name).check()
        assert all(path in str(caught.value) for path in missing if name in path)
