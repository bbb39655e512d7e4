"""Real nuclei, as instances and as panoptic, and CamVid's label PNGs go through the pipeline from `--data` alone.

Nuclei as instances go through every node, of which only the Trainer is not the real one: its model is right about every
other photo and wrong in a known way about the others. The other two forms are read and validated by the pipeline's
nodes, and predicted by that model. The few photos that are taken lie in the layout that the whole data set has.

`REAL_PHOTOS=1000 pytest tests/pipeline/test_real_data.py` takes up to that many of every split: all of them.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.panoptic_predictor import prediction_files
from components.panoptic_predictor.counts import SegmentCounts
from components.panoptic_predictor.prediction_step import PredictSplit
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples
from pipeline import flags, run_local
from tests.pipeline import half_right_trainer

pytestmark = pytest.mark.slow
NUM_PHOTOS = int(os.environ.get("REAL_PHOTOS", "4"))
SPLITS = ("train", "val")
VALIDATION = ("CocoExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "AnomalyGate")


def take_nuclei(nuclei: pathlib.Path, folder: pathlib.Path, form: str) -> None:
    """Copies the first photos with one form of their annotations."""
    for split in SPLITS:
        name = f"{form}_{split}"
        document = json.loads((nuclei / "annotations" / f"{name}.json").read_text())
        images = document["images"][:NUM_PHOTOS]
        ids = {image["id"] for image in images}
        annotations = [entry for entry in document["annotations"] if entry["image_id"] in ids]
        copy_files(nuclei / split, folder / split, [image["file_name"] for image in images])
        if form == "panoptic":
            pngs = [entry["file_name"] for entry in annotations]
            copy_files(nuclei / "annotations" / name, folder / "annotations" / name, pngs)
        (folder / "annotations").mkdir(exist_ok=True)
        part = json.dumps(document | {"images": images, "annotations": annotations})
        (folder / "annotations" / f"{name}.json").write_text(part)


def take_camvid(camvid: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies some photos of every split and their label PNGs."""
    for split in SPLITS:
        photos = sorted(path.name for path in (camvid / split).iterdir())
        chosen = photos[:: max(1, len(photos) // NUM_PHOTOS)][:NUM_PHOTOS]
        copy_files(camvid / split, folder / split, chosen)
        labels = [f"{pathlib.Path(name).stem}.png" for name in chosen]
        copy_files(camvid / f"{split}_labels", folder / f"{split}_labels", labels)
    shutil.copyfile(camvid / "classes.txt", folder / "classes.txt")


def copy_files(source: pathlib.Path, target: pathlib.Path, names: list[str]) -> None:
    target.mkdir(parents=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


@pytest.fixture(scope="module")
def instances(shared_dir, tmp_path_factory):
    """Nuclei as instances, through every node of the pipeline: the summary and the counts of each class."""
    from pipeline import maskformer_pipeline

    folder, root = tmp_path_factory.mktemp("instances"), tmp_path_factory.mktemp("root")
    take_nuclei(shared_dir / "data" / "nuclei", folder, "instances")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maskformer_pipeline, "trainer_adapter", half_right_trainer)
        assert run_local.main(["--data", str(folder), "--root", str(root)]) == 0
    summary = json.loads((root / "summary.json").read_text())
    [metrics] = (root / "pipeline").glob("PanopticEvaluator/evaluation/*/metrics.json")
    rows = json.loads(metrics.read_text())["per_class"]
    return summary, {row["name"]: SegmentCounts(*(row[name] for name in SegmentCounts._fields)) for row in rows}


def ingest_and_count(data: pathlib.Path, root: pathlib.Path) -> dict[str, SegmentCounts]:
    """Reads and validates a folder with the pipeline's nodes, predicts with the model; the counts of each class."""
    import apache_beam as beam

    from pipeline.local_run.console import ConsoleProgress
    from pipeline.local_run.stepwise_runner import StepwiseLocalDagRunner
    from pipeline.maskformer_pipeline import create_pipeline

    class Validation(StepwiseLocalDagRunner):
        def _run_node(self, pipeline, node):
            if node.pipeline_node.node_info.id in VALIDATION:
                super()._run_node(pipeline, node)

    config = flags.config_from_args(flags.parse_args(["--data", str(data), "--root", str(root)]))
    Validation("run", ConsoleProgress()).run(create_pipeline(config))
    [eval_dir] = (root / "pipeline" / "CocoExampleGen" / "examples").glob("*/Split-eval")
    record_files = prediction_files.example_files(str(eval_dir))
    categories = CategoryTable.load(examples.categories_path(record_files[0]))
    model = half_right_trainer.half_right_model(record_files, categories)
    tf.saved_model.save(model, str(root / "model"), signatures={"serving_default": model.serve})
    (root / "predictions").mkdir()
    predict = PredictSplit(
        record_files, str(root / "model"), str(root / "predictions"), isthing=categories.isthing, batch_size=1
    )
    found = root / "counts.json"
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as steps:
        steps | predict | beam.Map(lambda result: found.write_text(json.dumps(result)))
    return {categories.names[index]: SegmentCounts(*counts) for index, counts in json.loads(found.read_text())[1]}


def pq_of(counts: SegmentCounts) -> float:
    return counts.iou_sum / (counts.true_positives + (counts.false_positives + counts.false_negatives) / 2)


def test_nuclei_get_the_same_pq_as_instances_and_as_panoptic(instances, shared_dir, tmp_path):
    take_nuclei(shared_dir / "data" / "nuclei", tmp_path / "data", "panoptic")
    summary, counts = instances
    counted = Counter()
    document = json.loads((shared_dir / "data/nuclei/annotations/instances_val.json").read_text())
    images = sorted(document["images"][:NUM_PHOTOS], key=lambda image: image["file_name"])
    place_of = {image["id"]: place for place, image in enumerate(images)}
    for entry in document["annotations"]:
        if entry["image_id"] in place_of:
            counted[place_of[entry["image_id"]] % 2] += 1
    expected = SegmentCounts(counted[0], counted[0], len(images) // 2, counted[1])
    assert counts["nucleus"] == expected
    assert ingest_and_count(tmp_path / "data", tmp_path / "root")["nucleus"] == expected
    assert summary["pq"] == pytest.approx(pq_of(expected), abs=1e-12) and 0.01 < summary["pq"] < 0.99
    assert (summary["images"], summary["kept_aside"], summary["pushed_now"]) == (len(images), {}, True)


def test_camvid_gets_the_pq_that_follows_from_its_label_pngs(shared_dir, tmp_path):
    data = tmp_path / "data"
    take_camvid(shared_dir / "data" / "camvid", data)
    names = (data / "classes.txt").read_text().split()
    known, missed, invented = Counter(), Counter(), Counter()
    for number, path in enumerate(sorted((data / "val_labels").iterdir())):
        present = [names[label] for label in np.unique(np.asarray(Image.open(path))) if names[label] != "Void"]
        (missed if number % 2 else known).update(present)
        invented["Sky"] += number % 2
    found = ingest_and_count(data, tmp_path / "root")
    assert found == {
        name: SegmentCounts(known[name], known[name], invented[name], missed[name]) for name in known | missed
    }
    assert known["Sky"] and pq_of(found["Sky"]) == pytest.approx(0.5, abs=0.01)  # Half, and as many false ones.
