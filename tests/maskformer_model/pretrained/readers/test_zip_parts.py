"""A zip whose directory lies is refused before its parts are read. Peak memory is what Python allocated."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from maskformer_model.pretrained.readers.array_files import read_npz
from maskformer_model.pretrained.readers.torch_files import read_torch_file
from tests.maskformer_model.pretrained.readers.test_torch_files import tensor_program

MOST_BYTES = 20 * 2**20
DATA = np.arange(8, dtype=np.float32).tobytes()
PARTS = {"a/data.pkl": tensor_program(0, (8,), (1,), 8), "a/data/0": DATA, "a/data/1": bytes(100)}


@pytest.fixture(autouse=True)
def little_memory():
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST_BYTES


def written(path, parts, name="a/data/0", compression=zipfile.ZIP_STORED, **lies):
    """A zip whose directory makes the given claims about one part."""
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data, compression if part == name else zipfile.ZIP_STORED)
        for field, value in lies.items():
            setattr(archive.getinfo(name), field, value)
    return str(path)


def inside_each_other():
    """Part 1 as a part of its own, header and all, in the bytes of part 0."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("a/data/1", bytes(100))
        return whole.getvalue()


def test_parts_beside_each_other_are_read_and_junk_between_them_is_no_harm(tmp_path):
    path = tmp_path / "a.pth"
    np.testing.assert_array_equal(read_torch_file(written(path, PARTS))["a"], np.arange(8))
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in PARTS.items():
            archive.writestr(part, data)
            archive.fp.write(b"junk")
            archive.start_dir = archive.fp.tell()
    np.testing.assert_array_equal(read_torch_file(str(path))["a"], np.arange(8))


@pytest.mark.parametrize("reads", [read_torch_file, read_npz])
def test_a_part_inside_another_is_refused_though_both_could_be_read(tmp_path, reads):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("junk", bytes(1000))
        archive.writestr("a/data/0", inside_each_other())
        outer = archive.getinfo("a/data/0")
        inner = zipfile.ZipInfo("a/data/1")
        inner.file_size, inner.compress_size, inner.CRC = 100, 100, zlib.crc32(bytes(100))
        inner.header_offset = outer.header_offset + 30 + len("a/data/0")
        archive.filelist.append(inner)
    with pytest.raises(ValueError, match="must not overlap. Received: 'a/data/1' in 'a/data/0'"):
        reads(str(path))


@pytest.mark.parametrize("reads", [read_torch_file, read_npz])
@pytest.mark.parametrize(
    ("lies", "reason"),
    [
        ({"header_offset": 0}, "must not overlap"),
        ({"file_size": 10**9, "compress_size": 10**9}, "must not overlap"),
        ({"compress_size": 2**40}, "must have its own size"),
        ({"file_size": 2**40}, "must have its own size"),
    ],
)
def test_a_part_that_claims_bytes_of_others_or_more_than_it_has_is_refused(tmp_path, reads, lies, reason):
    with pytest.raises(ValueError, match=reason):
        reads(written(tmp_path / "a.pth", PARTS, **lies))


@pytest.mark.parametrize("reads", [read_torch_file, read_npz])
def test_a_last_part_that_claims_to_end_beyond_the_file_is_refused(tmp_path, reads):
    path = written(tmp_path / "a.pth", PARTS, name="a/data/1", file_size=2**40, compress_size=2**40)
    with pytest.raises(ValueError, match="must lie in the file"):
        reads(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packed_part_that_announces_little_and_unpacks_to_much_is_refused(tmp_path, compression):
    tracemalloc.stop()
    parts = {**PARTS, "a/data/0": bytes(60 * 2**20)}
    path = written(tmp_path / "a.pth", parts, compression=compression, file_size=len(DATA))
    del parts
    tracemalloc.start()
    with pytest.raises(ValueError, match="not compressed. Received: 'a/data/0'"):
        read_torch_file(path)
    if compression == zipfile.ZIP_DEFLATED:
        with pytest.raises(ValueError, match="magic string"):  # Not more than is announced is unpacked.
            read_npz(path)
    else:
        with pytest.raises(ValueError, match="stored or deflated. Received: 'a/data/0'"):
            read_npz(path)
