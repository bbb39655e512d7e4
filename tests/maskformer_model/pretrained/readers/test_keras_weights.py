"""Tests of `maskformer_model.pretrained.readers.keras_weights`."""

from __future__ import annotations

import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from maskformer_model.pretrained.readers.keras_weights import load_weights, save_weights


def network(units=3):
    model = keras.Sequential([keras.layers.Dense(units)])
    model.build((None, 2))
    return model


@pytest.fixture
def path(tmp_path):
    save_weights(network(), str(tmp_path / "model.weights.h5"))
    return tmp_path / "model.weights.h5"


def test_weights_come_back_and_nothing_else_is_left(path):
    ours, other = network(), network()
    save_weights(ours, str(path))
    load_weights(other, str(path))
    np.testing.assert_array_equal(ours.get_weights()[0], other.get_weights()[0])
    assert [each.name for each in path.parent.iterdir()] == ["model.weights.h5"]


def test_a_file_that_is_cut_off_or_of_another_network_is_named(path):
    with pytest.raises(ValueError, match=r"model\.weights\.h5 does not hold the weights of this network"):
        load_weights(network(units=4), str(path))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.weights\.h5 is damaged or cut off: .*Copy it again"):
        load_weights(network(), str(path))


def test_a_data_set_that_announces_more_than_the_file_is_refused(path):
    with h5py.File(path, "a") as file:
        file.create_dataset("bomb", (2**40,), "f4", chunks=(1024,))
    with pytest.raises(ValueError, match=r"announces 43980\d+ bytes of weights and has"):
        load_weights(network(), str(path))


def test_data_of_other_files_are_not_read(path, tmp_path):
    with h5py.File(path, "a") as file:
        file.create_dataset("secret", (4,), "u1", external=[(str(tmp_path / "secret.txt"), 0, 4)])
    with pytest.raises(ValueError, match="refers to other files"):
        load_weights(network(), str(path))


def test_a_full_disk_leaves_the_weights_that_were_there(path):
    """A limit of file sizes stands for the disk: both make `write` fail in the middle."""
    before = path.read_bytes()
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from maskformer_model.command_errors import run_command\n"
        "from maskformer_model.pretrained.readers.keras_weights import save_weights\n"
        "import keras; model = keras.Sequential([keras.layers.Dense(400)]); model.build((None, 400))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "sys.exit(run_command('train', lambda: save_weights(model, sys.argv[1]) or 0, status=1))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    part = path.with_name("model.part.weights.h5")
    assert last == (
        f"train: {part}: File too large. Raise the limit of file sizes (ulimit -f), or choose another disk, and start "
        "again."
    )
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["model.weights.h5"]
