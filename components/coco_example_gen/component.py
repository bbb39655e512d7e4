"""CocoExampleGen: a data set in COCO's panoptic layout in, Examples with the splits train and eval out.

The typed contract; the work is in `executor`, what decides whether there is any in `driver`.
"""

from __future__ import annotations

import hashlib
import pathlib

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

import maskformer_model
from components.coco_example_gen import driver, executor
from components.coco_example_gen.coco_files import CocoFiles
from components.coco_example_gen.custom_config import pack_options
from components.coco_example_gen.options import SPLITS, IngestOptions

_MODEL_SOURCES = ("categories.py", "examples.py", "panoptic_png.py", "preprocessing.py")


class CocoExampleGen(FileBasedExampleGen):
    """Reads photos, panoptic PNGs and json files; output `examples`.

    The artifact holds `Split-train` and `Split-eval` (TFRecord files of the Examples that `maskformer_model.examples`
    defines), `categories.json`, and `kept_aside.jsonl` with the records that could not be taken.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        input_base: str,
        *,
        max_train_images: int = 0,
        max_eval_images: int = 0,
        evaluate_on_train: bool = False,
        max_kept_aside_share: float = IngestOptions.max_kept_aside_share,
        num_shards: int = 0,
    ):
        """Makes the node.

        Args:
            input_base: the data folder.
            max_train_images: see `IngestOptions`, as the others.
            max_eval_images: first so many photos of val2017.
            evaluate_on_train: eval split = train split.
            max_kept_aside_share: 0..1.
            num_shards: record files per split.

        Raises:
            ValueError: if an option breaks its rule.
        """
        options = IngestOptions(
            max_train_images=max_train_images,
            max_eval_images=max_eval_images,
            evaluate_on_train=evaluate_on_train,
            max_kept_aside_share=max_kept_aside_share,
            num_shards=num_shards,
        )
        patterns = {split: CocoFiles(input_base, options.folder(split)).annotation_name for split in SPLITS}
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(
                splits=[example_gen_pb2.Input.Split(name=split, pattern=patterns[split]) for split in SPLITS]
            ),
            custom_config=pack_options(options, source_sha256()),
            # The writer is ours: TFRecord files without gzip, under which photos do not shrink.
            output_file_format=example_gen_pb2.FILE_FORMAT_UNSPECIFIED,
        )


def source_sha256() -> str:
    """SHA-256, hexadecimal, of the code that makes Examples, so that the cache notices when it has changed."""
    model_dir = pathlib.Path(maskformer_model.__file__).parent
    paths = [*sorted(pathlib.Path(__file__).parent.glob("*.py")), *(model_dir / name for name in _MODEL_SOURCES)]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()
