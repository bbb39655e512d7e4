"""Bulk prediction: every photo once, bad ones with a reason, and what is done is not done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from components.bulk_predictor import __main__ as program
from components.bulk_predictor import plan
from components.bulk_predictor.predict_step import predict_photo
from components.panoptic_predictor.serving_model import ServingModel
from maskformer_model import command_errors
from maskformer_model.data.panoptic_png import decode_panoptic_png
from tests.components import brightness_model


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return brightness_model.save_model(tmp_path_factory.mktemp("model") / "7")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(brightness_model.scene(number).image_encoded)
    (folder / "3.png").write_bytes(b"no photo")
    return folder


def command(model_dir, photos, output, *more):
    return ["--model", str(model_dir), "--images", str(photos), "--output", str(output), *more]


def read(output):
    """`{file name: features}` of all shards, in order."""
    found = {}
    for path in sorted(output.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            name = os.path.basename(features["image/filename"].bytes_list.value[0].decode())
            assert name not in found
            found[name] = {key: feature.bytes_list.value[0] for key, feature in features.items()}
    return found


def test_every_photo_is_predicted_once_and_a_bad_one_has_its_reason(model_dir, photos, tmp_path, capsys):
    output = tmp_path / "out"
    assert program.main(command(model_dir.parent, photos, output, "--photos_per_shard", "2")) == 0
    assert "5 photos predicted" in capsys.readouterr().out
    found = read(output)
    assert list(found) == [f"{number}.png" for number in range(5)]
    assert "error" in found["3.png"] and "prediction/panoptic/encoded" not in found["3.png"]
    ids = decode_panoptic_png(found["4.png"]["prediction/panoptic/encoded"])
    assert (ids == 300).sum() == 100
    [ground, disc] = json.loads(found["4.png"]["prediction/segments"])
    assert (ground["category_id"], disc["category_id"], disc["area"]) == (7, 3, 100)
    assert json.loads((output / "summary.json").read_text()) == {"photos": 5, "refused": 1}
    assert len(list(output.glob("*.tfrecord"))) == 3


def test_what_is_done_is_not_done_again(model_dir, photos, tmp_path, capsys):
    output = tmp_path / "out"
    program.main(command(model_dir, photos, output, "--photos_per_shard", "2"))
    first, second, third = sorted(output.glob("*.tfrecord"))
    before = {path: path.stat().st_mtime_ns for path in (first, third)}
    second.unlink()  # As if the run had been cut off there.
    capsys.readouterr()
    assert program.main(command(model_dir, photos, output, "--photos_per_shard", "2")) == 0
    assert "5 photos in 3 shards, 1 to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert list(read(output)) == [f"{number}.png" for number in range(5)]


def test_another_model_or_list_is_not_mixed_in(model_dir, photos, tmp_path, capsys):
    output = tmp_path / "out"
    program.main(command(model_dir, photos, output))
    other = brightness_model.save_model(tmp_path / "other", threshold=200)
    assert program.main(command(other, photos, output)) == command_errors.EXIT_USAGE
    assert "differs in ['model_sha256']" in capsys.readouterr().err
    (photos / "0.png").unlink()
    assert program.main(command(model_dir, photos, output)) == command_errors.EXIT_USAGE
    assert "differs in ['num_photos', 'photos_sha256']" in capsys.readouterr().err


def test_a_list_is_cut_into_shards_that_find_their_lines(tmp_path):
    names = [f"/photos/ä {number}.jpg" for number in range(7)]
    shards = plan.make_plan(str(tmp_path), iter(names), 3, "hash")
    assert [shard.num_photos for shard in shards] == [3, 3, 1]
    assert [name for shard in shards for name in plan.photos_of(str(tmp_path), shard)] == names
    assert plan.make_plan(str(tmp_path), names, 3, "hash") == shards
    (tmp_path / f"{shards[1].stem}.tfrecord").touch()
    assert plan.open_shards(str(tmp_path), shards) == [shards[0], shards[2]]


@pytest.mark.parametrize(("names", "message"), [([], "at least one photo"), (["a\nb"], "must be one line")])
def test_a_list_that_cannot_be_cut_is_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        plan.make_plan(str(tmp_path), names, 3, "hash")


def test_an_address_is_refused_where_a_path_is_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    right = {"--model": "model", "--images": "photos", "--output": "out"}
    with_list = {"--model": "model", "--output": "out"}
    for flags, flag, next_step in [
        (right, "--model", "or copy the model to this machine"),
        (right, "--images", "list the photos' addresses in a file for `--images_from`"),
        (with_list, "--images_from", "Copy the list to this machine"),
        (right, "--output", "or write to this machine and copy the folder afterwards"),
    ]:
        arguments = [text for pair in (flags | {flag: "gs://bucket/a"}).items() for text in pair]
        with pytest.raises(SystemExit) as ended:
            program.main(arguments)
        assert ended.value.code == command_errors.EXIT_USAGE
        error = " ".join(capsys.readouterr().err.split())
        assert f"`{flag}` must be a path on this machine" in error and "Received: gs://bucket/a" in error
        assert next_step in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "received"),
    [(["--photos_per_shards", "10"], "Received: --photos_per_shards 10"), (["stray"], "Received: stray")],
)
def test_a_flag_that_neither_side_knows_is_refused(model_dir, photos, tmp_path, capsys, flags, received):
    output = tmp_path / "out"
    arguments = ["--images", str(photos), "--model", str(model_dir), "--output", str(output), *flags]
    assert program.main(arguments) == command_errors.EXIT_USAGE
    assert received in capsys.readouterr().err
    assert not output.exists()


def test_flags_of_beam_are_checked_before_two_dashes_and_not_after_them():
    program.check_beam_args(["--runner=DirectRunner", "--direct_num_workers", "2", "--job_endpoint=localhost:8099"])
    args = program.parse_args(
        ["--model", "m", "--images", "a", "b", "--output", "o", "--streaming", "--", "--of_job_server=1"]
    )
    assert (args.images, args.beam_args, args.runner_args) == (["a", "b"], ["--streaming"], ["--of_job_server=1"])


def test_the_flags_of_a_runner_are_known_once_it_is_imported(tmp_path, monkeypatch):
    # Dask's options, too, are in the module of its runner.
    (tmp_path / "runner_with_options.py").write_text(
        "from apache_beam.options.pipeline_options import PipelineOptions\n"
        "from apache_beam.runners.runner import PipelineRunner\n"
        "class OwnOptions(PipelineOptions):\n"
        "    @classmethod\n"
        "    def _add_argparse_args(cls, parser):\n"
        "        parser.add_argument('--own_client_address')\n"
        "class OwnRunner(PipelineRunner):\n"
        "    pass\n"
    )
    code = (
        "from components.bulk_predictor.__main__ import check_beam_args\n"
        "check_beam_args(['--runner=runner_with_options.OwnRunner', '--own_client_address', 'tcp://localhost:1'])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_photo_that_the_system_does_not_give_is_refused_alone(model_dir, photos, tmp_path):
    (photos / "1.png").unlink()
    (photos / "1.png").mkdir()  # Not an invalid argument to TensorFlow, but a failed precondition.
    output, photo_list = tmp_path / "out", tmp_path / "list.txt"
    photo_list.write_text("".join(f"{photos}/{name}\n" for name in ("0.png", "1.png", "absent.png", "4.png")))
    arguments = ["--model", str(model_dir), "--images_from", str(photo_list), "--output", str(output)]
    assert program.main(arguments) == 0
    found = read(output)
    assert b"Is a directory" in found["1.png"]["error"] and b"No such file" in found["absent.png"]["error"]
    assert json.loads((output / "summary.json").read_text()) == {"photos": 4, "refused": 2}


def test_a_storage_that_cannot_be_used_ends_the_run_instead_of_refusing_every_photo(model_dir):
    with pytest.raises(tf.errors.UnimplementedError, match="'nostorage' not implemented"):
        predict_photo(ServingModel(str(model_dir)), "nostorage://bucket/photo.png")


@pytest.mark.parametrize("damage", [b"", b'{"num_photos": 5', b"[]", b"\xff"])
def test_a_damaged_plan_is_named_with_the_next_step(tmp_path, damage):
    shards = plan.make_plan(str(tmp_path), ["a"], 3, "hash")
    (tmp_path / "plan.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"plan\.json: the plan is damaged\. Remove it if"):
        plan.make_plan(str(tmp_path), ["a"], 3, "hash")
    (tmp_path / "plan.json").unlink()
    assert plan.make_plan(str(tmp_path), ["a"], 3, "hash") == shards
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos.txt", "plan.json"]


def test_an_equal_plan_is_not_written_again(tmp_path):
    plan.make_plan(str(tmp_path), ["a"], 3, "hash")
    before = (tmp_path / "plan.json").stat()
    plan.make_plan(str(tmp_path), ["a"], 3, "hash")
    after = (tmp_path / "plan.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_plan_that_does_not_fit_on_the_disk_leaves_none(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from components.bulk_predictor import plan\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"  # The list is shorter, the plan longer.
        "plan.make_plan(sys.argv[1], ['a'], 3, 'hash')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos.txt"]
    assert len(plan.make_plan(str(tmp_path), ["a"], 3, "hash")) == 1


@pytest.mark.parametrize("damage", ["", "[]", '{"photos": 5}'])
def test_damaged_counts_of_a_shard_are_named_with_the_next_step(tmp_path, damage):
    shards = plan.make_plan(str(tmp_path), ["a"], 3, "hash")
    (tmp_path / f"{shards[0].stem}.json").write_text(damage)
    with pytest.raises(ValueError, match=rf"{shards[0].stem}\.json: the counts are damaged\. Remove .*\.tfrecord"):
        plan.summarize(str(tmp_path), shards)


def test_a_photo_whose_name_is_no_utf_8_is_named(model_dir, photos, tmp_path, capsys):
    (photos / os.fsdecode(b"caf\xe9.png")).touch()
    output, message = tmp_path / "out", "A photo's name must be UTF-8."
    assert program.main(command(model_dir, photos, output)) == command_errors.EXIT_USAGE
    error = capsys.readouterr().err
    assert message in error and r"caf\udce9.png'" in error
    assert list(output.iterdir()) == []

    (tmp_path / "list.txt").write_bytes(b"a.png\ncaf\xe9.png\n")
    arguments = ["--model", str(model_dir), "--images_from", str(tmp_path / "list.txt"), "--output", str(output)]
    assert program.main(arguments) == command_errors.EXIT_USAGE
    error = capsys.readouterr().err
    assert message in error and r"Received: 'caf\udce9.png'" in error


def test_help_imports_nothing_heavy(project_dir):
    arguments = [sys.executable, "-X", "importtime", "-m", "components.bulk_predictor", "--help"]
    done = subprocess.run(arguments, check=True, cwd=project_dir, capture_output=True, text=True)
    assert "tensorflow" not in done.stderr and "apache_beam" not in done.stderr
