"""The published layouts of COCO, ADE20K, Cityscapes and Mapillary Vistas, and which of them a data folder has.

A layout is a row of `_LAYOUTS`: a SplitSource whose paths are templates. Nothing heavy is imported, and whether a file
exists is asked through the caller's function, so that a wrong folder is answered at once and object stores work too.
A data set that was published in several forms has several rows; panoptic PNGs are preferred to labels, and Vistas 2.0
to 1.2, because they say more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from components.coco_example_gen.layouts.split_source import INSTANCES, LABELS, PANOPTIC, SplitSource

TRAIN, VAL = "train", "val"
AUTO = "auto"

# How each data set calls its splits.
_NAMES = {
    "coco_stuff": {TRAIN: {"split": "train"}, VAL: {"split": "test"}},  # It has no other split to validate on.
    "coco": {TRAIN: {"split": "train2017"}, VAL: {"split": "val2017"}},
    "ade20k": {
        TRAIN: {"split": "training", "short": "train"},
        VAL: {"split": "validation", "short": "val"},
    },
    "cityscapes": {TRAIN: {"split": "train"}, VAL: {"split": "val"}},
    "vistas": {TRAIN: {"split": "training"}, VAL: {"split": "validation"}},
}


def _coco_panoptic(panoptic_dir: str) -> SplitSource:
    return SplitSource(
        layout="coco_panoptic",
        truth=PANOPTIC,
        photo_dirs=("{split}",),
        image_file="annotations/panoptic_{split}.json",
        panoptic_file="annotations/panoptic_{split}.json",
        panoptic_dir=panoptic_dir,
        caption_file="annotations/captions_{split}.json",
    )


def _vistas_panoptic(layout: str, folder: str, year: int) -> SplitSource:
    json_file = f"{{split}}/{folder}panoptic/panoptic_{year}.json"
    return SplitSource(
        layout=layout,
        truth=PANOPTIC,
        photo_dirs=("{split}/images",),
        image_file=json_file,
        panoptic_file=json_file,
        panoptic_dir=f"{{split}}/{folder}panoptic",
    )


def _vistas_labels(layout: str, folder: str, config_file: str, kind: str = "instances") -> SplitSource:
    return SplitSource(
        layout=layout,
        truth=LABELS,
        photo_dirs=("{split}/images",),
        label_dir=f"{{split}}/{folder}{kind}",
        label_code="vistas" if kind == "instances" else "vistas_labels",
        category_file=config_file,
    )


def _cityscapes_labels(layout: str, kind: str) -> SplitSource:
    return SplitSource(
        layout=layout,
        truth=LABELS,
        photo_dirs=("leftImg8bit/{split}",),
        photo_suffix="_leftImg8bit.png",
        label_dir="gtFine/{split}",
        label_suffix=f"_gtFine_{kind}.png",
        label_code="cityscapes",
        category_file="package:cityscapes_labels.json",
    )


def _official_labels(layout: str, label_suffix: str) -> SplitSource:
    """Describes what the official `datasets/prepare_{ade20k_full,coco_stuff_10k_v1.0}_sem_seg.py` write."""
    return SplitSource(
        layout=layout,
        truth=LABELS,
        photo_dirs=("images_detectron2/{split}",),
        label_dir="annotations_detectron2/{split}",
        label_suffix=label_suffix,
        label_code=layout,
        category_file=f"package:{layout}_categories.json",
    )


_LAYOUTS: tuple[SplitSource, ...] = (
    _coco_panoptic("annotations/panoptic_{split}"),
    _coco_panoptic("panoptic_{split}"),  # Where panopticapi's and detectron2's users unpack the PNGs.
    SplitSource(
        layout="cityscapes_panoptic",
        truth=PANOPTIC,
        photo_dirs=("leftImg8bit/{split}",),
        image_file="gtFine/cityscapes_panoptic_{split}.json",
        panoptic_file="gtFine/cityscapes_panoptic_{split}.json",
        panoptic_dir="gtFine/cityscapes_panoptic_{split}",
        photo_name_rule="cityscapes",
    ),
    SplitSource(
        layout="ade20k_panoptic",
        truth=PANOPTIC,
        photo_dirs=("images/{split}",),
        image_file="ade20k_panoptic_{short}.json",
        panoptic_file="ade20k_panoptic_{short}.json",
        panoptic_dir="ade20k_panoptic_{short}",
        areas="json",  # Its stuff was counted before things were pasted over it.
    ),
    _vistas_panoptic("vistas_v2.0_panoptic", "v2.0/", 2020),
    _vistas_panoptic("vistas_v1.2_panoptic", "", 2018),
    _vistas_panoptic("vistas_v1.2_panoptic", "v1.2/", 2018),  # As packed with 2.0.
    _cityscapes_labels("cityscapes", "instanceIds"),
    SplitSource(
        layout="ade20k",
        truth=LABELS,
        photo_dirs=("images/{split}",),
        label_dir="annotations/{split}",
        label_code="ade20k",
        category_file="objectInfo150.txt",
    ),
    _official_labels("ade20k_full", ".tif"),
    _official_labels("coco_stuff_10k", ".png"),
    _vistas_labels("vistas_v2.0", "v2.0/", "config_v2.0.json"),
    _vistas_labels("vistas_v1.2", "", "config.json"),
    _vistas_labels("vistas_v1.2", "v1.2/", "config_v1.2.json"),
    _cityscapes_labels("cityscapes_labels", "labelIds"),
    _vistas_labels("vistas_v2.0_labels", "v2.0/", "config_v2.0.json", "labels"),
    _vistas_labels("vistas_v1.2_labels", "", "config.json", "labels"),
    _vistas_labels("vistas_v1.2_labels", "v1.2/", "config_v1.2.json", "labels"),
    SplitSource(
        layout="coco_instances",
        truth=INSTANCES,
        photo_dirs=("{split}",),
        image_file="annotations/instances_{split}.json",
        object_file="annotations/instances_{split}.json",
        caption_file="annotations/captions_{split}.json",
    ),
)
LAYOUT_NAMES = tuple(dict.fromkeys(source.layout for source in _LAYOUTS))


class UnknownLayoutError(FileNotFoundError):
    """The data folder has none of the layouts that can be read; the message says what was expected where."""


def find_sources(
    data_dir: str, splits: Sequence[str], exists: Callable[[str], bool], layout: str = AUTO
) -> dict[str, SplitSource]:
    """Finds the files of a data set.

    Args:
        data_dir: its folder.
        splits: those of "train" and "val" that will be read; their files must be there.
        exists: whether there is a file or folder of a path.
        layout: a name of `LAYOUT_NAMES`, or "auto".

    Returns:
        By split: where its files are.

    Raises:
        UnknownLayoutError: if something is missing, naming each file or folder and where it was expected.
    """
    attempts: list[tuple[str, dict[str, str], int]] = []
    for template in _LAYOUTS:
        if layout not in (AUTO, template.layout):
            continue
        names = next(names for data_set, names in _NAMES.items() if template.layout.startswith(data_set))
        sources = {split: template.with_names(data_dir, names[split]) for split in splits}
        missing = [source.missing(exists) for source in sources.values()]
        if not any(missing):
            return sources
        num_found = sum(len(source.expected()) for source in sources.values()) - sum(map(len, missing))
        attempts.append((template.layout, _merged(missing), num_found))
    raise UnknownLayoutError(_explanation(data_dir, layout, attempts))


def nearest_layout(data_dir: str, exists: Callable[[str], bool], layout: str = AUTO) -> str:
    """Says what a folder lacks of the published layout of which it has most; empty where it has nothing of any."""
    best: tuple[float, str] = (0.0, "")
    for template in _LAYOUTS:
        if layout in (AUTO, template.layout):
            names = _NAMES[template.layout.split("_")[0]]
            expected = [template.with_names(data_dir, names[split]) for split in (TRAIN, VAL)]
            missing = _merged(source.missing(exists) for source in expected)
            share = 1 - len(missing) / len(_merged(source.expected() for source in expected))
            lines = [f"To be of the layout {template.layout} it lacks:"]
            lines += [f"  {path}  ({meaning})" for path, meaning in missing.items()]
            best = max(best, (share, "\n".join(lines)), key=lambda pair: pair[0])
    return best[1]


def _merged(mappings: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {key: value for mapping in mappings for key, value in mapping.items()}


def _explanation(data_dir: str, layout: str, attempts: Sequence[tuple[str, Mapping[str, str], int]]) -> str:
    # For a folder that nearly fits a layout the message says what that layout lacks, and not what all others expect.
    best = max(num_found for _, _, num_found in attempts)
    lines = [f"The data folder {data_dir} must have a layout that can be read (`layout`: {layout}). Not found:"]
    for name, missing, num_found in attempts:
        if num_found == best:
            lines.append(f" as {name}:")
            lines += [f"  {path}  ({meaning})" for path, meaning in missing.items()]
    return "\n".join(lines)
