"""Tests of `maskformer_model.pretrained.readers.array_files`."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from maskformer_model.pretrained.readers.array_files import read_npz, read_safetensors


def safetensors(tmp_path, entries, data: bytes, header_bytes=None):
    header = json.dumps(entries).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header) if header_bytes is None else header_bytes) + header + data)
    return path


def entry(dtype, shape, first, last):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def test_every_number_type_is_read_and_bfloat16_widens(tmp_path):
    half = np.array([1.5, -2], np.float16)
    entries = {
        "__metadata__": {"format": "pt"},
        "half": entry("F16", [2], 0, 4),
        # 1.0 is 0x3F80 and -2.0 is 0xC000 in bfloat16.
        "brain": entry("BF16", [1, 2], 4, 8),
        "empty": entry("F32", [0, 3], 8, 8),
        "number": entry("I64", [], 8, 16),
    }
    read = read_safetensors(
        safetensors(tmp_path, entries, half.tobytes() + b"\x80\x3f\x00\xc0" + struct.pack("<q", -7))
    )
    np.testing.assert_array_equal(read["half"], half)
    np.testing.assert_array_equal(read["brain"], np.array([[1, -2]], np.float32))
    assert read["brain"].dtype == np.float32 and read["empty"].shape == (0, 3) and read["number"] == -7


def test_a_file_of_the_library_is_read(tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.uint8)}
    numpy_files.save_file(arrays, tmp_path / "a.safetensors")
    read = read_safetensors(tmp_path / "a.safetensors")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"a": entry("F32", [2**40], 0, 2**42)}, "cut off"),
        ({"a": entry("F32", [4], 0, 16)}, "cut off"),
        ({"a": entry("F32", [4], 0, 8)}, "bytes of its shape"),
        ({"a": entry("F32", [-2], 0, 8)}, "begin where"),
        ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 0, 8)}, "begin where"),
        ({"a": entry("F4", [4], 0, 8)}, "one of the types"),
        ({"a": 7}, "Not a safetensors file"),
        ([], "Not a safetensors file"),
    ],
)
def test_what_does_not_fit_its_file_is_refused(tmp_path, entries, reason):
    with pytest.raises(ValueError, match=reason):
        read_safetensors(safetensors(tmp_path, entries, b"\0" * 8))


@pytest.mark.parametrize("header_bytes", [2**63, 2**40, 500])
def test_a_header_longer_than_the_file_is_refused(tmp_path, header_bytes):
    with pytest.raises(ValueError, match="its header announces"):
        read_safetensors(safetensors(tmp_path, {}, b"", header_bytes))


def test_a_header_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "deep.safetensors"
    path.write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000)
    with pytest.raises(ValueError, match="cut off"):
        read_safetensors(path)


def npz(tmp_path, parts, **options):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def npy(shape, data=b"", descr="<f4"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


def test_files_of_numpy_come_back_equal(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.eye(3, dtype=np.float32)), "c": np.array(3)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = read_npz(tmp_path / "a.npz")
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)


def test_a_shape_that_its_file_does_not_hold_is_refused_before_memory_is_taken(tmp_path):
    with pytest.raises(ValueError, match=r"announces an array of \(1099511627776,\) and holds 4 bytes"):
        read_npz(npz(tmp_path, {"a.npy": npy((2**40,), b"\0" * 4)}))


def test_a_part_that_grows_a_thousandfold_is_refused(tmp_path):
    zeros = npy((2**26,), bytes(2**28))
    path = npz(tmp_path, {"a.npy": zeros}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="must not grow to more than"):
        read_npz(path)


@pytest.mark.parametrize("descr", ["|O", "<U8", [("a", "<f4")]])
def test_objects_texts_and_records_are_refused(tmp_path, descr):
    with pytest.raises(ValueError, match="must hold numbers"):
        read_npz(npz(tmp_path, {"a.npy": npy((1,), b"\0" * 32, descr)}))


def test_a_file_that_is_cut_off_says_so(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(1000))
    path = tmp_path / "b.npz"
    path.write_bytes((tmp_path / "a.npz").read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"cut off: .*b\.npz"):
        read_npz(path)
