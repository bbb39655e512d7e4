"""Published names become official ones, the architecture follows from the arrays, and every array is used."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from maskformer_model import convert_checkpoint, experiments
from maskformer_model.config import ModelConfig, ResNetConfig, SwinConfig, merge, override
from maskformer_model.pretrained import initialize
from maskformer_model.pretrained.architecture import infer_model_config
from maskformer_model.pretrained.foreign_names import official_names
from maskformer_model.pretrained.hugging_face_config import hugging_face_settings
from maskformer_model.pretrained.maskformer_names import backbone_weights, official_weights
from maskformer_model.pretrained.sources import golden_settings, read_checkpoint
from maskformer_model.pretrained.tables.weight_table import CheckpointMismatchError
from tests.maskformer_model.helpers.families import FAMILIES
from tests.maskformer_model.helpers.flat_model import model_config
from tests.maskformer_model.helpers.small_export import small_config

RESNET, SWIN = "tiny_resnet50_transformer_fpn", "tiny_swin_fpn"


@pytest.fixture(scope="module")
def golden_dir(project_dir):
    return project_dir / "tests" / "golden"


@pytest.fixture(scope="module")
def arrays(golden_dir):
    return read_checkpoint(str(golden_dir / SWIN / "weights.npz")).arrays


@pytest.fixture(scope="module")
def network(golden_dir):
    checkpoint = read_checkpoint(str(golden_dir / SWIN))
    return initialize.build_network(infer_model_config(checkpoint.arrays, checkpoint.settings))


@pytest.fixture(scope="module")
def converted(golden_dir, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("converted"))
    conversion = convert_checkpoint.convert(str(golden_dir / SWIN), output, settings_of="coco_panoptic_swin_tiny")
    return output, conversion.config.task.model


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content))
    return str(path)


def small_backbone(**settings):
    from maskformer_model.modeling.registry import build_backbone

    backbone = build_backbone(merge(ModelConfig(), {"backbone": settings}).backbone)
    backbone(np.zeros((1, 32, 32, 3), np.float32))
    return backbone


def random_arrays(table, seed=0):
    random = np.random.default_rng(seed)
    return {weight.name: random.normal(size=weight.shape).astype(np.float32) for weight in table}


def assert_holds(table, arrays):
    for weight in table:
        np.testing.assert_array_equal(weight.read(), arrays[weight.name], err_msg=weight.name)


def test_old_official_names_mean_the_pixel_decoder(golden_dir, tmp_path):
    new = read_checkpoint(str(golden_dir / RESNET)).arrays
    old = {name.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): array for name, array in new.items()}
    assert "sem_seg_head.transformer.encoder.layers.0.norm1.weight" in old
    old["criterion.empty_weight"] = np.ones(134, np.float32)
    read = read_checkpoint(write_pickle(tmp_path / "old.pkl", {"model": old, "__author__": "someone"})).arrays
    assert read.keys() == new.keys()
    name = "sem_seg_head.pixel_decoder.adapter_1.weight"
    np.testing.assert_array_equal(read[name], new[name])


def test_the_published_mask2formers_names_mean_the_same(golden_dir, tmp_path):
    new = read_checkpoint(str(golden_dir / "m2f_resnet50_tiny")).arrays
    queries = "sem_seg_head.predictor.query_feat.weight"
    old = {
        name.replace("pixel_decoder.", "").replace("query_feat", "static_query"): array for name, array in new.items()
    }
    assert queries in new and queries not in old
    old["criterion.empty_weight"] = np.ones(134, np.float32)
    read = read_checkpoint(write_pickle(tmp_path / "old.pkl", {"model": old, "__author__": "someone"}))
    assert read.is_whole_model and read.arrays.keys() == new.keys()
    np.testing.assert_array_equal(read.arrays[queries], new[queries])
    assert infer_model_config(read.arrays).decoder.type == "masked_attention"


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_an_eomt_answers_with_masks_if_it_was_never_without_them_whatever_the_recipe_says(probability):
    model = override(small_config(), FAMILIES["eomt"]).task.model
    arrays = random_arrays(official_weights(initialize.build_network(model)))
    arrays["attn_mask_probs"] = np.full(model.decoder.num_blocks, probability, np.float32)
    for masks in (False, True):
        recipe = dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, masks_at_inference=masks))
        assert infer_model_config(arrays, {}, recipe).decoder.masks_at_inference == bool(probability)


@pytest.mark.parametrize("name", [RESNET, SWIN])
def test_the_architecture_follows_from_the_arrays(golden_dir, name):
    golden = json.loads((golden_dir / name / "golden.json").read_text())
    head, options, resnet, swin = (golden[key] for key in ("sem_seg_head", "mask_former", "resnet", "swin"))
    if resnet:
        backbone = ResNetConfig(
            type="resnet",
            depth=resnet["DEPTH"],
            stem_channels=resnet["STEM_OUT_CHANNELS"],
            res2_channels=resnet["RES2_OUT_CHANNELS"],
            bottleneck_channels=resnet["WIDTH_PER_GROUP"],
        )
    else:
        backbone = SwinConfig(
            embed_dim=swin["EMBED_DIM"],
            depths=tuple(swin["DEPTHS"]),
            num_heads=tuple(swin["NUM_HEADS"]),
            window_size=swin["WINDOW_SIZE"],
            mlp_ratio=swin["MLP_RATIO"],
            drop_path_rate=swin["DROP_PATH_RATE"],
        )
    expected = model_config(
        backbone=backbone,
        num_classes=head["NUM_CLASSES"],
        num_queries=options["NUM_OBJECT_QUERIES"],
        hidden_dim=options["HIDDEN_DIM"],
        pixel_decoder_dim=head["CONVS_DIM"],
        mask_dim=head["MASK_DIM"],
        num_heads=options["NHEADS"],
        feedforward_dim=options["DIM_FEEDFORWARD"],
        dropout=0.0,
        which_pixel_decoder="transformer_fpn" if name == RESNET else "fpn",
        fpn_encoder_layers=head["TRANSFORMER_ENC_LAYERS"] if name == RESNET else 6,
        num_decoder_layers=options["DEC_LAYERS"],
        enforce_input_projection=options["ENFORCE_INPUT_PROJ"],
        transformer_in_feature=options["TRANSFORMER_IN_FEATURE"],
    )
    checkpoint = read_checkpoint(str(golden_dir / name))
    assert infer_model_config(checkpoint.arrays, checkpoint.settings) == expected


def test_a_deeplab_stem_means_dilations_1_2_4_unless_the_source_says_otherwise(arrays):
    arrays = {name: a for name, a in arrays.items() if name.startswith("sem_seg_head.")}
    for stage, blocks in enumerate((3, 4, 23, 3), start=2):
        for block in range(blocks):
            arrays |= {
                f"backbone.res{stage}.{block}.conv{i}.weight": np.zeros((4 if i < 3 else 16, 4, 1, 1))
                for i in (1, 2, 3)
            }
    arrays |= {f"backbone.stem.conv{i}.weight": np.zeros((8 * i, 3, 3, 3)) for i in (1, 2, 3)}
    backbone = infer_model_config(arrays).backbone
    assert (backbone.depth, backbone.stem_type, backbone.stem_channels) == (101, "deeplab", 24)
    assert (backbone.res2_channels, backbone.bottleneck_channels) == (16, 4)
    assert backbone.res5_multi_grid == (1, 2, 4)
    stated = infer_model_config(arrays, {"backbone": {"res5_multi_grid": [1, 1, 1]}}, base=ModelConfig()).backbone
    assert stated.res5_multi_grid == (1, 1, 1)


def test_what_is_left_over_missing_or_misshapen_is_listed_and_nothing_is_written(network, arrays):
    before = [np.asarray(value) for value in network.get_weights()]
    arrays = dict(arrays)
    del arrays["sem_seg_head.predictor.query_embed.weight"]
    arrays["sem_seg_head.extra.weight"] = np.zeros(3, np.float32)
    arrays["backbone.patch_embed.proj.weight"] = np.zeros((8, 4, 4, 4), np.float32)
    with pytest.raises(CheckpointMismatchError) as caught:
        initialize.load_official_weights(network, arrays)
    message = str(caught.value)
    assert "Left over: sem_seg_head.extra.weight. Missing: sem_seg_head.predictor.query_embed.weight." in message
    assert "Wrong shape: backbone.patch_embed.proj.weight (8, 4, 4, 4) for (8, 3, 4, 4)." in message
    for value, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_every_variable_belongs_to_exactly_one_official_weight(network):
    variables = [id(variable) for weight in official_weights(network) for variable in weight.variables]
    assert len(variables) == len(set(variables))
    assert set(variables) == {id(variable) for variable in network.variables}


def test_weights_written_are_read_back_as_they_were(network, arrays):
    initialize.load_official_weights(network, arrays)
    assert_holds(official_weights(network), arrays)


@pytest.fixture(scope="module")
def resnet():
    return small_backbone(depth=50, stem_channels=8, res2_channels=16, bottleneck_channels=4)


def torchvision_name(official_name):
    *place, kind = official_name.split(".")
    is_norm = place[-1] == "norm"
    place = [part for part in place if part not in ("norm", "stem")]
    if place[-1] == "shortcut":
        place[-1] = f"downsample.{int(is_norm)}"
    elif is_norm:
        place[-1] = place[-1].replace("conv", "bn")
    if place[0].startswith("res"):
        place[0] = f"layer{int(place[0][3]) - 1}"
    return ".".join([*place, kind])


def test_names_of_torchvision_are_made_rightly_for_the_test_below():
    assert torchvision_name("stem.conv1.norm.running_var") == "bn1.running_var"
    assert torchvision_name("res3.0.shortcut.norm.bias") == "layer2.0.downsample.1.bias"
    assert torchvision_name("res5.2.conv3.weight") == "layer4.2.conv3.weight"


@pytest.mark.parametrize("writer", ["torchvision", "detectron2"])
def test_an_imagenet_resnet_initialises_the_backbone(resnet, tmp_path, writer):
    table = backbone_weights(resnet)
    arrays = random_arrays(table, seed=len(writer))
    rename = torchvision_name if writer == "torchvision" else str
    foreign = {rename(name.removeprefix("backbone.")): array for name, array in arrays.items()}
    foreign |= {"fc.weight": np.zeros((2, 3)), "fc.bias": np.zeros(2), "layer1.0.bn1.num_batches_tracked": np.array(5)}
    path = write_pickle(tmp_path / "imagenet.pkl", {"model": foreign, "matching_heuristics": True})
    checkpoint = read_checkpoint(path)
    assert not checkpoint.is_whole_model
    initialize.load_official_backbone(resnet, checkpoint.arrays)
    assert_holds(table, arrays)


def test_an_imagenet_swin_initialises_all_but_the_output_norms():
    backbone = small_backbone(type="swin", embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 1, 1, 1), window_size=2)
    table = backbone_weights(backbone)
    arrays = {name: array for name, array in random_arrays(table).items() if not name.startswith("backbone.norm")}
    foreign = {name.removeprefix("backbone."): array for name, array in arrays.items()}
    foreign["layers.1.blocks.1.attn_mask"] = foreign["layers.0.blocks.0.attn.relative_position_index"] = np.zeros(4)
    foreign |= {name: np.zeros(3) for name in ("norm.weight", "norm.bias", "head.weight", "head.bias")}
    initialize.load_official_backbone(backbone, official_names(foreign))
    assert_holds([weight for weight in table if weight.name in arrays], arrays)
    np.testing.assert_array_equal(backbone.output_norms[2].gamma, np.ones(32))


def test_a_backbone_is_taken_out_of_a_whole_checkpoint_but_not_the_other_way_round(network, golden_dir, tmp_path):
    arrays = read_checkpoint(str(golden_dir / SWIN)).arrays
    network.predictor.class_head.bias.assign(np.full(134, 5.0))
    initialize.initialize(network, str(golden_dir / SWIN), "backbone")
    assert_holds(backbone_weights(network.backbone), arrays)
    np.testing.assert_array_equal(network.predictor.class_head.bias, np.full(134, 5.0))
    only_backbone = {name.removeprefix("backbone."): a for name, a in arrays.items() if name.startswith("backbone.")}
    path = write_pickle(tmp_path / "backbone.pkl", only_backbone)
    with pytest.raises(CheckpointMismatchError, match=r"Missing: sem_seg_head\.pixel_decoder\.adapter_1"):
        initialize.initialize(network, path, "all")
    with pytest.raises(ValueError, match="Only a whole MaskFormer is converted"):
        convert_checkpoint.convert(path, str(tmp_path / "out"))


@pytest.mark.parametrize("name", ["ckpt-100.index", "training_history.json"])
def test_a_conversion_does_not_replace_a_training(golden_dir, tmp_path, name):
    for file in (name, "model.weights.h5"):
        (tmp_path / file).write_text("of a training")
    with pytest.raises(ValueError, match="must not replace a training"):
        convert_checkpoint.convert(str(golden_dir / SWIN), str(tmp_path))
    assert (tmp_path / "model.weights.h5").read_text() == "of a training"


def test_a_converted_model_predicts_what_the_reference_does(converted, golden_dir):
    expected = np.load(golden_dir / SWIN / "outputs.npz")
    predicted = initialize.load_converted(converted[0])(expected["padded_images"].transpose(0, 2, 3, 1))
    for ours, official in (("class_logits", "pred_logits"), ("mask_logits", "pred_masks")):
        bound = 1e-4 * np.abs(expected[official]).max()
        np.testing.assert_allclose(predicted[ours], expected[official], atol=bound, rtol=0)


@pytest.mark.slow
def test_a_converted_model_initialises_another_network_whole_or_in_part(network, converted, golden_dir):
    output, config = converted
    arrays = read_checkpoint(str(golden_dir / SWIN)).arrays
    fewer_classes = initialize.build_network(dataclasses.replace(config, num_classes=5))
    initialize.initialize(fewer_classes, output, "backbone")
    assert_holds(backbone_weights(fewer_classes.backbone), arrays)
    with pytest.raises(ValueError, match=r"architecture of the checkpoint .* Received: num_classes 5 for 133$"):
        initialize.initialize(fewer_classes, output, "all")
    initialize.initialize(network, output, "all")
    assert_holds(official_weights(network), arrays)


def test_a_checkpoint_of_another_architecture_than_the_experiment_is_refused(golden_dir, tmp_path, capsys):
    arguments = ["--source", str(golden_dir / RESNET), "--output", str(tmp_path), "--experiment", "coco_panoptic_r101"]
    assert convert_checkpoint.main(arguments) == 1
    message = capsys.readouterr().err
    assert "convert_checkpoint: The checkpoint must have the architecture of 'coco_panoptic_r101'" in message
    assert "num_queries 10 for 100" in message
    assert "backbone.depth 50 for 101" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "kind", "sizes_px", "threshold", "divisor", "fusion_size"),
    [
        ("maskformer_coco_panoptic", "panoptic", (800, 1333), 0.8, 0, "photo"),
        ("coco_panoptic_swin_base", "panoptic", (800, 1333), 0.8, 0, "photo"),
        ("ade20k_panoptic_r101", "panoptic", (640, 2560), 0.7, 32, "photo"),
        ("ade20k_semantic_r50", "semantic", (512, 2048), 0.8, 32, "input"),
        ("ade20k_semantic_swin_large", "semantic", (640, 2560), 0.8, 32, "input"),
        ("cityscapes_semantic_r101c", "semantic", (1024, 2048), 0.8, 32, "input"),
        ("vistas_semantic_r50", "semantic", (2048, 2048), 0.8, 32, "input"),
    ],
)
def test_the_published_recipe_is_found_by_classes_and_layers(name, kind, sizes_px, threshold, divisor, fusion_size):
    # What arrays do not show is as no recipe has it, so nothing but what they show can lead to the recipe.
    stated = experiments.get(name).task.model
    backbone = {"drop_path_rate": 0.0} if stated.backbone.type == "swin" else {"res5_multi_grid": [1, 1, 1]}
    decoder = {"dropout": 0.0, "num_heads": 4, "deep_supervision": False}
    shown = merge(stated, {"backbone": backbone, "decoder": decoder})
    assert convert_checkpoint.published_recipe_of(shown) == name
    task = experiments.get(name).task
    inference = task.inference
    assert (task.kind, (inference.shortest_edge_px, inference.max_size_px)) == (kind, sizes_px)
    assert (inference.object_mask_threshold, inference.size_divisibility) == (threshold, divisor)
    assert inference.semantic_fusion_size == fusion_size


def test_every_published_recipe_is_found_from_its_own_architecture():
    published = [name for name in experiments.names() if experiments.get(name).task.model.num_classes]
    assert len(published) >= 24
    asked = set()
    for name in published:
        try:
            assert convert_checkpoint.published_recipe_of(experiments.get(name).task.model) == name
        except ValueError as error:
            # Some networks are the same for several tasks or lengths of training: the user must say which one it is.
            assert "--experiment: " in str(error) and name in str(error)
            asked.add(name)
    assert asked < {name for name in published if name.startswith(("mask2former_", "eomt_"))}


def test_of_a_checkpoint_without_a_recipe_it_is_asked_whose_settings_it_keeps(golden_dir, tmp_path, capsys):
    arguments = ["--source", str(golden_dir / SWIN), "--output", str(tmp_path / "out")]
    assert convert_checkpoint.main(arguments) == 1
    message = capsys.readouterr().err
    assert "No published recipe has the architecture of the checkpoint (133 classes, 10 queries, swin, fpn)" in message
    assert "With 133 classes there are: coco_panoptic_r101, coco_panoptic_swin_base" in message
    assert "the nearest is --settings_of coco_panoptic_swin_" in message
    assert not (tmp_path / "out").exists()
    both = ["--experiment", "coco_panoptic_r101", "--settings_of", "coco_panoptic_r101"]
    assert convert_checkpoint.main([*arguments, *both]) == 1
    assert "not both" in capsys.readouterr().err
    assert convert_checkpoint.main([*arguments, "--settings_of", "ade20k_panoptic_r50"]) == 0
    assert "with the settings of ade20k_panoptic_r50" in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "experiment.json").read_text())["task"]
    assert (written["inference"]["shortest_edge_px"], written["inference"]["object_mask_threshold"]) == (640, 0.7)
    assert (written["model"]["num_classes"], written["model"]["num_queries"]) == (133, 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"some.weight": np.zeros(2)}}, "The names in a checkpoint must be those of MaskFormer"),
        ({"model": {"a": "text"}}, "must map names to arrays"),
        ([1, 2], "must map names to arrays"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_checkpoint(write_pickle(tmp_path / "other.pkl", content))


def test_a_path_that_does_not_exist_or_has_no_known_ending_is_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"must end in one of \.npz, .*\.pkl"):
        read_checkpoint(write_pickle(tmp_path / "weights.tar", {}))
    with pytest.raises(FileNotFoundError, match=r"must hold config\.json or golden\.json"):
        read_checkpoint(str(tmp_path))
    assert convert_checkpoint.main(["--source", str(tmp_path / "none.pkl"), "--output", str(tmp_path / "out")]) == 1
    assert "none.pkl" in capsys.readouterr().err


def test_settings_that_the_reference_does_not_have_are_refused(golden_dir):
    golden = json.loads((golden_dir / SWIN / "golden.json").read_text())
    golden["swin"]["APE"] = True
    with pytest.raises(ValueError, match=r"golden\.json: `APE` must be False\. Received: True"):
        golden_settings(golden)
    with pytest.raises(ValueError, match=r"config\.json: `decoder_config\.activation_function` must be 'relu'\."):
        hugging_face_settings({"model_type": "maskformer", "decoder_config": {"activation_function": "gelu"}})


@pytest.mark.parametrize(
    ("section", "key", "value", "setting"),
    [
        ("mask_former", "NUM_OBJECT_QUERIES", 11, "num_queries 11 for 10"),
        ("mask_former", "PRE_NORM", True, "pre_norm True for False"),
        (
            "sem_seg_head",
            "PIXEL_DECODER_NAME",
            "TransformerEncoderPixelDecoder",
            "which_pixel_decoder transformer_fpn for fpn",
        ),
    ],
)
def test_settings_that_contradict_the_arrays_are_refused(golden_dir, arrays, section, key, value, setting):
    golden = json.loads((golden_dir / SWIN / "golden.json").read_text())
    golden[section][key] = value
    with pytest.raises(ValueError, match=f"must be those that the arrays show. Received: {setting}"):
        infer_model_config(arrays, golden_settings(golden))


def test_the_multi_grid_counts_for_the_deeplab_builder_only(golden_dir):
    golden = json.loads((golden_dir / RESNET / "golden.json").read_text())
    golden["resnet"]["RES5_MULTI_GRID"] = [1, 2, 4]
    assert golden_settings(golden)["backbone"]["res5_multi_grid"] == [1, 1, 1]
    golden["backbone"] = "build_resnet_deeplab_backbone"
    assert golden_settings(golden)["backbone"]["res5_multi_grid"] == [1, 2, 4]
