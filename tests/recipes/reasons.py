"""Fields of ours without an official counterpart, and official keys without a field of ours, each with its reason."""

from __future__ import annotations

from typing import Any

# Field, or the beginning of several, -> why no official value belongs to it.
OURS_ALONE = {
    "runtime.": "how a process computes and reports: seed, precision, tracker; officially float32, no AMP, no tracker",
    "task.model.backbone.stage_blocks": "empty: the blocks of `depth`",
    "task.model.backbone.stage_channels": "empty: `res2_channels`, doubled by each stage",
    "task.losses.mask_normalizer": "targets: all of them, as there; pairs are EoMT's",
    "task.losses.oversample_ratio": 'of `mask_loss` "points" alone',
    "task.losses.importance_sample_ratio": 'of `mask_loss` "points" alone',
    "task.losses.num_points": 'of `mask_loss` "points" alone',
    "task.train_data.input_path": "the user's",
    "task.train_data.shuffle_buffer_size": "officially the list of all photos is shuffled; records pass a buffer",
    "task.train_data.aspect_ratio_group_size": (
        "officially ASPECT_RATIO_GROUPING, in groups of one GPU's photos: 2, where sizes are free. Crops of one size "
        "are padded alike in any order: 0"
    ),
    "task.train_data.cache": "photos are decoded in each epoch, as there",
    "task.train_data.drop_remainder": "the sampler is without end, as there: no batch is smaller",
    "task.inference.pixel_threshold": "0: a segment takes every pixel that its query owns, as there",
    "task.train_data.parser.scale_range": 'of the augmentation "lsj" alone',
    "task.train_data.parser.jitters_color": 'of the augmentation "lsj" alone',
    "task.train_data.parser.redraws_empty_crops": 'of the augmentation "lsj" alone',
    "task.train_data.parser.padding_pixel": "128, as the mappers that pad a crop do",
    "task.train_data.parser.max_targets": (
        "officially without a limit. No more than the queries can be matched; of a photo with more than 100 segments "
        "ours keeps the 100 largest, there the 100 that are cheapest to match"
    ),
    "task.validation_data.": "photos are scored at their own size, as `task.inference` says; only the path is read",
    "task.inference.pads_with_black": "false: zeros after normalising, as there; black is EoMT's",
    "task.inference.window_px": "0: the whole photo, as there; windows are EoMT's",
    "task.inference.max_instances": "100, detectron2's default (TEST.DETECTIONS_PER_IMAGE), which no recipe changes",
    "task.inference.max_pixels": "a limit of the server's",
    "task.inference.mixed_precision_dtype": "float32, as there",
    "task.init_checkpoint": "officially ImageNet weights (MODEL.WEIGHTS), which the user names",
    "task.init_checkpoint_modules": "the backbone alone, as there",
    "trainer.steps_per_loop": "how often curves are written",
    "trainer.validation_interval": "officially TEST.EVAL_PERIOD; without effect on the training",
    "trainer.max_to_keep": "what stays on disk",
    "trainer.early_stopping_patience": "0: never, as there",
    "trainer.restore_best_weights": "false: the last weights, as there",
    "trainer.accumulation_steps": "1: none, as there",
    "trainer.max_skipped_steps": "officially a loss that is not finite ends the run at once",
    "trainer.steps_per_execution": "without effect on results",
    "trainer.jit_compile": "without effect on results but rounding",
    "trainer.optimizer.layer_decay": "1: none, as there; of a plain ViT alone",
    "trainer.optimizer.undecayed_blocks": "of a plain ViT alone",
    "trainer.optimizer.decays_everything": "false: norms and embeddings do not decay, as there",
    "trainer.optimizer.backbone_warmup_steps": 'of the schedule "two_stage_poly" alone',
    "trainer.optimizer.ema_momentum": "0: none, as there",
}

# Official key -> the only values it may have, because ours has them built in, and where.
BUILT_IN: dict[str, tuple[tuple[Any, ...], str]] = {
    "MODEL.META_ARCHITECTURE": (("MaskFormer",), "modeling"),
    "MODEL.PIXEL_MEAN": (([123.675, 116.28, 103.53],), "normalization.PIXEL_MEAN_RGB"),
    "MODEL.PIXEL_STD": (([58.395, 57.12, 57.375],), "normalization.PIXEL_STD_RGB"),
    "MODEL.RESNETS.STRIDE_IN_1X1": ((False,), "the 3x3 convolution strides"),
    "MODEL.RESNETS.OUT_FEATURES": ((["res2", "res3", "res4", "res5"],), "all four"),
    "MODEL.RESNETS.RES4_DILATION": ((1,), "none"),
    "MODEL.RESNETS.RES5_DILATION": ((1,), "none but the multi-grid"),
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ((["res2", "res3", "res4", "res5"],), "all four"),
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": ((4,), "masks have stride 4"),
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": ((1.0,), "MaskFormer does not read it"),
    "MODEL.SEM_SEG_HEAD.NORM": (("GN",), "group norm with 32 groups"),
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": (
        (255, 65535, 65),
        "the label that is no class, which ingest turns into void; the mappers read the data set's own",
    ),
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": ((224, 384), "of absolute positions, which are off"),
    "MODEL.SWIN.PATCH_SIZE": ((4,), "the stem's stride"),
    "MODEL.SWIN.QKV_BIAS": ((True,), "there"),
    "MODEL.SWIN.QK_SCALE": ((None,), "1 / sqrt(width of a head)"),
    "MODEL.SWIN.DROP_RATE": ((0.0,), "none"),
    "MODEL.SWIN.ATTN_DROP_RATE": ((0.0,), "none"),
    "MODEL.SWIN.APE": ((False,), "no absolute positions"),
    "MODEL.SWIN.PATCH_NORM": ((True,), "there"),
    "MODEL.SWIN.OUT_FEATURES": ((["res2", "res3", "res4", "res5"],), "all four"),
    "SOLVER.OPTIMIZER": (("ADAMW",), "optimizer"),
    "SOLVER.WEIGHT_DECAY_NORM": ((0.0,), "none on norms"),
    "SOLVER.WEIGHT_DECAY_EMBED": ((0.0,), "none on embeddings"),
    "SOLVER.WEIGHT_DECAY_BIAS": ((None,), "as weights"),
    "SOLVER.CLIP_GRADIENTS.ENABLED": ((True,), "`clip_norm` above 0"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": (("full_model",), "one norm over all parameters"),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": ((2.0,), "Euclidean"),
    "SOLVER.WARMUP_METHOD": (("linear",), "learning_rate"),
    "SOLVER.POLY_LR_CONSTANT_ENDING": ((0.0,), "down to 0"),
    "SOLVER.AMP.ENABLED": ((False,), "float32"),
    "INPUT.FORMAT": (("RGB",), "the channels' order"),
    "INPUT.COLOR_AUG_SSD": ((True, False), 'part of the augmentation "semantic"; the DETR mapper does not read it'),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": (("choice",), "one of the listed edges"),
    "INPUT.CROP.ENABLED": ((True,), 'part of "detr" and "semantic"'),
    "INPUT.CROP.TYPE": (("absolute", "absolute_range"), '"semantic" and "detr"'),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": ((1.0,), "off"),
    "detr_panoptic: share of photos that are cropped": ((0.5,), "augmentation.detr_resize_crop"),
    "DATALOADER.ASPECT_RATIO_GROUPING": ((True,), "`task.train_data.aspect_ratio_group_size`, see above"),
    "DATALOADER.SAMPLER_TRAIN": (("TrainingSampler",), "every photo once an epoch, without end"),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": ((True,), "without effect: these data sets list no boxes"),
    "DATALOADER.NUM_WORKERS": ((4, 10), "without effect on results"),
    "TEST.EVAL_PERIOD": ((0, 5000), "`trainer.validation_interval`, see above"),
    "VERSION": ((2,), "of the file's format"),
}

# Official key -> why its value needs no field.
THE_USER_S = {
    "MODEL.WEIGHTS": "ImageNet weights, `task.init_checkpoint`",
    "DATASETS.TRAIN": "the data, `task.train_data.input_path`",
    "DATASETS.TEST": "the data, `task.validation_data.input_path`",
    "TEST.AUG.MIN_SIZES": "the views, where they are wanted: off in every file (TEST.AUG.ENABLED)",
}
