"""Pickles of arrays are read; pickles that would do anything else are refused before they do it."""

import collections
import os
import pickle

import numpy as np
import pytest

from maskformer_model.pretrained.readers.pickle_instructions import UnsafePickleError
from maskformer_model.pretrained.readers.restricted_pickle import read_pickle

ARRAYS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "scalar array": np.array(7, np.int64),
    "empty": np.zeros((0, 4), np.float16),
    "bool": np.array([True, False]),
}


class RunsACommand:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return str(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back_equal_under_every_protocol(tmp_path, protocol):
    content = {
        "model": collections.OrderedDict(ARRAYS),
        "author": "someone",
        "step": np.float64(0.5),
        "list": [1, (2,)],
    }
    read = read_pickle(write(tmp_path / "weights.pkl", content, protocol))
    assert (read["author"], read["step"], read["list"]) == ("someone", 0.5, [1, (2,)])
    assert list(read["model"]) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read["model"][name], array)
        assert read["model"][name].dtype == array.dtype.newbyteorder("=")


def test_a_pickle_of_python_2_is_read(tmp_path):
    # Protocol 0 of Python 2: {'a': array([1., 2.], dtype=float32)}, its bytes a string.
    program = (
        b"(dp0\nS'a'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\n"
        b"tp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f4'\np10\nI0\nI1\ntp11\nRp12\n"
        b"(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np15\ntp16\nbs."
    )
    (tmp_path / "old.pkl").write_bytes(program)
    np.testing.assert_array_equal(read_pickle(str(tmp_path / "old.pkl"))["a"], np.array([1, 2], np.float32))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_command_in_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    marker = tmp_path / "was_here"
    path = write(tmp_path / "evil.pkl", {"model": {"a": RunsACommand(marker)}}, protocol)
    with pytest.raises(UnsafePickleError, match=r"posix\.system"):
        read_pickle(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", [b"builtins\neval", b"numpy\nload", b"numpy.core.multiarray\nfromfile", b"os\nremove"])
def test_every_name_but_those_of_arrays_is_refused(tmp_path, name):
    (tmp_path / "evil.pkl").write_bytes(b"c" + name + b"\n(S'x'\ntR.")
    with pytest.raises(UnsafePickleError, match=name.decode().replace("\n", r"\.")):
        read_pickle(str(tmp_path / "evil.pkl"))


def test_arrays_of_objects_are_refused(tmp_path):
    with pytest.raises(UnsafePickleError, match="must hold numbers"):
        read_pickle(write(tmp_path / "objects.pkl", {"a": np.array([{}, []], dtype=object)}))


class TypeThatHidesPointers:
    """Eight bytes that are an object's address, of a type whose flags say that it holds no object."""

    def __reduce__(self):
        state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
        return np.dtype, ("V8", False, True), state


class ArrayOfAddresses:
    def __reduce__(self):
        return np._core.numeric._frombuffer, (b"A" * 8, TypeThatHidesPointers(), (1,), "C")


def test_bytes_that_numpy_itself_would_take_for_objects_are_refused(tmp_path):
    with pytest.raises(UnsafePickleError, match="must hold numbers. Received the type: 'V8'"):
        read_pickle(write(tmp_path / "addresses.pkl", {"model": {"a": ArrayOfAddresses()}}))


def test_a_file_that_is_cut_off_or_no_pickle_is_refused(tmp_path):
    whole = pickle.dumps(ARRAYS, protocol=2)
    for index, content in enumerate((whole[:-20], b"PNG", b"")):
        path = tmp_path / f"{index}.pkl"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="Not a pickle of arrays"):
            read_pickle(str(path))
