"""From a tool's untouched export to pre-annotations for that tool, by way of a short training and an exported model.

CVAT's "COCO 1.0" goes this way in `tests/examples/test_own_export.py`.
"""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from components.coco_example_gen.conversion.conversion_step import convert_shard
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split
from components.coco_example_gen.sources import sources_of
from maskformer_model import predict
from maskformer_model.export.saved_model import export_saved_model
from maskformer_model.training import loop
from tests.labelling_tools.conftest import NUM_PHOTOS
from tests.maskformer_model.helpers import tiny_run

pytestmark = pytest.mark.takes(seconds=60)
STEPS = "trainer.train_steps=2,task.inference.object_mask_threshold=0.0,task.inference.overlap_threshold=0.0"
# An export of each tool, and which form the tool takes back. `test_round_trips` reads the tools' other forms.
FORM_OF = {
    "label_studio_json": "label_studio",
    "labelme": "coco_instances",
    "datumaro_panoptic": "coco_instances",
}


@pytest.mark.slow
@pytest.mark.parametrize("folder", FORM_OF)
def test_an_export_is_trained_on_predicted_and_written_back(exports_dir, tmp_path, folder):
    files = {}
    for split, source in sources_of(str(exports_dir / folder), IngestOptions()).items():
        (tmp_path / "work" / split).mkdir(parents=True)
        request = SplitRequest(split=split, num_shards=1, shard_path=lambda i, n, name=split: f"{name}.tfrecord")
        plan = plan_split(request, source, str(tmp_path / "work" / split))
        convert_shard(plan.shards[0], plan.categories, str(tmp_path), str(tmp_path / "work" / split))
        files[split] = [str(tmp_path / f"{split}.tfrecord")]
    categories = plan.categories
    experiment = loop.with_num_classes(tiny_run.experiment(STEPS), categories.num_classes)
    network = loop.train(
        experiment,
        train_files=files["train"],
        eval_files=files["eval"],
        categories=categories,
        model_dir=str(tmp_path / "run"),
        progress=False,
    )
    export_saved_model(network.network, categories, experiment, str(tmp_path / "model"))
    form, output = FORM_OF[folder], tmp_path / "predictions"
    photos = str(exports_dir / folder / "**" / "*.jpg")
    assert (
        predict.main(
            ["--model", str(tmp_path / "model"), "--images", photos, "--output", str(output), "--format", form]
        )
        == 0
    )
    assert _names_and_classes(output, form) == (NUM_PHOTOS, set(categories.names))


def _names_and_classes(output, form):
    """How many photos a file is about, and the classes that it lists."""
    if form == "label_studio":
        labels = ElementTree.parse(output / "label_config.xml").getroot().iter("Label")
        return len(json.loads((output / "tasks.json").read_text())), {label.get("value") for label in labels}
    document = json.loads((output / "annotations" / "instances_default.json").read_text())
    return len(document["images"]), {category["name"] for category in document["categories"]}
