"""The same scenes as four data sets: the same records, and the same PQ at the end of the pipeline.

Two of them go through the whole pipeline: Cityscapes, and Vistas, which takes the other's model, because nothing that
is trained on differs (`reused_trainer`). `test_end_to_end.py` runs COCO's.
"""

from __future__ import annotations

import json

import pytest

from components.coco_example_gen.options import IngestOptions
from components.training.train_data_folder import convert_folder
from pipeline import run_local
from tests.components import layout_samples
from tests.pipeline import reused_trainer

pytestmark = pytest.mark.takes(seconds=110)
SIZE_PX = 64
# Small, but it learns enough of sky and grass for a PQ above 0; thresholds are low, because it is not sure of itself.
# A Mask2Former, so that this family goes through all nodes. The backbone is ImageNet's as it is: its gradients take
# longer to compile than the training takes.
OVERRIDES = (
    "task.model.pixel_decoder.type=deformable,task.model.pixel_decoder.encoder_layers=1,"
    "task.model.pixel_decoder.num_points=2,task.model.decoder.type=masked_attention,"
    "task.model.num_queries=8,task.model.num_decoder_layers=1,"
    "task.model.hidden_dim=32,task.model.pixel_decoder_dim=32,task.model.mask_dim=32,task.freeze_backbone=true,"
    "task.losses.pixel_loss=cross_entropy,task.losses.mask_loss=points,task.losses.num_points=256,"
    f"task.train_data.parser.output_size=[{SIZE_PX},{SIZE_PX}],task.train_data.parser.min_sizes_px=[{SIZE_PX}],"
    f"task.train_data.parser.max_size_px={SIZE_PX},task.train_data.global_batch_size=4,"
    "trainer.train_steps=40,trainer.steps_per_loop=40,trainer.optimizer.warmup_steps=5,"
    "trainer.optimizer.learning_rate=0.003,trainer.optimizer.drop_steps=[],trainer.optimizer.ema_momentum=0.9,"
    f"task.inference.shortest_edge_px={SIZE_PX},task.inference.max_size_px={SIZE_PX},"
    "task.inference.size_divisibility=32,"
    "task.inference.object_mask_threshold=0.1,task.inference.overlap_threshold=0.2"
)
TRAINED, REUSING = "cityscapes_panoptic", "vistas_v2.0_panoptic"
NUMBERS = ("pq", "sq", "rq", "pq_things", "pq_stuff", "images")


@pytest.fixture(scope="module")
def samples():
    return layout_samples.draw_samples(8, 4, size_px=SIZE_PX)


def test_all_four_layouts_are_the_same_photos_segments_and_classes(samples, tmp_path):
    found = {}
    for layout, write in layout_samples.PANOPTIC_WRITERS.items():
        write(tmp_path / layout, samples)
        records = convert_folder(
            str(tmp_path / layout), str(tmp_path / f"{layout}.records"), IngestOptions(layout=layout)
        )
        found[layout] = [reused_trainer.contents_of([f"{records}/{split}*.tfrecord"]) for split in ("train", "val")]
    assert len(found) == 4
    [(_, train_photos), (_, val_photos)] = found[TRAINED]
    assert (len(train_photos), len(val_photos)) == (8, 4)
    assert any(segments for _, _, segments in val_photos)
    for layout in found:
        assert found[layout] == found[TRAINED], layout


@pytest.fixture(scope="module")
def results(samples, tmp_path_factory):
    """Exit status and summary by layout."""
    found = {}

    def run(layout):
        folder = tmp_path_factory.mktemp(layout)
        layout_samples.PANOPTIC_WRITERS[layout](folder / "data", samples)
        flags = ["--data", str(folder / "data"), "--root", str(folder / "root"), "--experiment", "generated_scenes"]
        status = run_local.main([*flags, "--layout", layout, "--params_override", OVERRIDES])
        found[layout] = status, json.loads((folder / "root" / "summary.json").read_text())
        return folder / "root"

    root = run(TRAINED)
    from pipeline import maskformer_pipeline

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maskformer_pipeline, "trainer_adapter", reused_trainer)
        patch.setenv(reused_trainer.EARLIER_ROOT, str(root))
        run(REUSING)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_layouts_reach_the_same_pq_on_the_same_scenes(results):
    assert [status for status, _ in results.values()] == [0, 0]
    trained, reusing = ([summary[name] for name in NUMBERS] for _, summary in results.values())
    assert trained[0] > 0 and trained[-1] == 4
    assert reusing == pytest.approx(trained, abs=1e-6)


@pytest.mark.slow
def test_nothing_of_either_layout_was_kept_aside(results):
    assert all(summary["kept_aside"] == {} for _, summary in results.values())
