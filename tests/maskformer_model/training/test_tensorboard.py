"""Where a number of the history is shown."""

import pytest
import tensorflow as tf

from maskformer_model.training.tensorboard import TensorBoard, tag_of
from tests.maskformer_model.helpers.small_export import CATEGORIES


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("loss_ce", "losses/loss_ce/last_layer"),
        ("loss_dice_3", "losses/loss_dice/layer_3"),
        ("pq_things", "quality/pq_things"),
        ("rq", "quality/rq"),
        ("ap50", "quality/ap50"),
        ("mean_iou", "quality/mean_iou"),
        ("loss", "loss"),
        ("learning_rate", "learning_rate"),
    ],
)
def test_a_number_has_its_place(name, tag):
    assert tag_of(name) == tag


def test_scores_and_losses_go_to_their_own_folders_at_their_step(tmp_path):
    TensorBoard(str(tmp_path), CATEGORIES).write_row({"step": 7, "seconds": 1.5, "loss": 2.0, "pq": 0.25})
    found = set()
    for path in tmp_path.glob("*/events.out.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                found.add((path.parent.name, event.step, value.tag, float(tf.make_ndarray(value.tensor))))
    assert found == {("train", 7, "loss", 2.0), ("validation", 7, "quality/pq", 0.25)}


def test_settings_and_lineage_are_tables_of_text(tmp_path):
    TensorBoard(str(tmp_path), CATEGORIES).write_texts({"lineage": {"train_files": "a b", "init_checkpoint": ""}})
    [path] = tmp_path.glob("train/events.out.*")
    events = [
        tf.compat.v1.Event.FromString(record) for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    [value] = [value for event in events for value in event.summary.value]
    text = "| name | value |\n| --- | --- |\n| train_files | a b |\n| init_checkpoint |  |"
    assert (value.tag, tf.make_ndarray(value.tensor).item().decode()) == ("lineage", text)
