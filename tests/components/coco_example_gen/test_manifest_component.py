"""CocoExampleGen without a driver: the data by its manifest's digest."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from components.coco_example_gen import data_manifest
from components.coco_example_gen.manifest_component import ManifestExampleGen, ManifestExecutor
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_of
from maskformer_model.scenes import data_set


@pytest.fixture
def data_dir(tmp_path):
    """Three scenes and their manifest."""
    folder = tmp_path / "data"
    data_set.write_data_set(folder, num_train=2, num_val=1, size_px=32, seed=0)
    return str(folder)


def write_manifest(data_dir):
    sources = sources_of(data_dir, IngestOptions()).values()
    return data_manifest.write_manifest(f"{data_dir}/manifest.json", data_manifest.build_manifest(data_dir, sources))


def ingest(tmp_path, data_dir, data_sha256):
    """Runs the executor as an entry point would; returns the artifact."""
    node = ManifestExampleGen(data_dir, data_sha256, IngestOptions())
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--direct_num_workers=1"], tmp_dir=str(tmp_path), unique_id="1"
    )
    ManifestExecutor(context).Do({}, {"examples": [examples]}, dict(node.exec_properties))
    return examples


def test_data_with_the_promised_digest_becomes_examples_that_carry_it(tmp_path, data_dir):
    digest = write_manifest(data_dir)
    examples = ingest(tmp_path, data_dir, digest)
    assert json.loads(examples.split_names) == ["train", "eval"]
    assert examples.get_string_custom_property("input_fingerprint") == f"content_sha256:{digest}"
    assert list((tmp_path / "examples" / "Split-train").iterdir())


def test_other_data_than_was_promised_is_refused(tmp_path, data_dir):
    write_manifest(data_dir)
    with pytest.raises(ValueError, match="data_sha256"):
        ingest(tmp_path, data_dir, "0" * 64)
    assert not (tmp_path / "examples").exists()


def test_data_without_a_manifest_is_refused(tmp_path, data_dir):
    with pytest.raises(FileNotFoundError, match="manifest"):
        ingest(tmp_path, data_dir, "0" * 64)


def test_the_newest_span_cannot_be_asked_for():
    with pytest.raises(ValueError, match="span_pattern"):
        ManifestExampleGen("gs://bucket/data", "0" * 64, IngestOptions(span_pattern="span-{SPAN}"))


def test_the_commands_help_loads_nothing_heavy():
    code = (
        "import sys; from components.coco_example_gen import manifest\n"
        "try: manifest.main(['--help'])\n"
        "except SystemExit: print(sorted({'tensorflow', 'apache_beam', 'numpy'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
