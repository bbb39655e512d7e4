"""Small files that would take minutes or gigabytes if a reader believed them. Peak memory is what Python allocated."""

from __future__ import annotations

import pickle
import struct
import tracemalloc

import pytest

from maskformer_model.pretrained.readers import pickle_instructions
from maskformer_model.pretrained.readers.pickle_instructions import UnsafePickleError
from maskformer_model.pretrained.readers.restricted_pickle import read_pickle
from maskformer_model.pretrained.readers.torch_files import read_torch_file

MOST_BYTES = 200 * 2**20


@pytest.fixture(autouse=True)
def little_memory():
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST_BYTES


def written(tmp_path, program: bytes) -> str:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(program)
    return str(path)


def doubled(kind: bytes, times: int) -> bytes:
    """A container that holds the one before it twice, and so on: 2^times ways to the first."""
    program = b"]q\x00"
    for index in range(times):
        get = b"h" + bytes([index])
        program += {b"list": b"](" + get + get + b"e", b"tuple": get + get + b"\x86"}[kind] + b"q" + bytes([index + 1])
    return program


@pytest.mark.parametrize("kind", [b"list", b"tuple"])
def test_what_can_be_reached_in_many_ways_is_copied_once(tmp_path, kind):
    read = read_pickle(written(tmp_path, doubled(kind, 90) + b"."))
    assert read[0] is read[1]


def test_a_container_that_holds_itself_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nested at most 100 deep"):
        read_pickle(written(tmp_path, b"]q\x00h\x00a."))


@pytest.mark.parametrize("program", [b"]" * 5000 + b"a" * 4999 + b".", b"N" + b"\x85" * 100_000 + b"."])
def test_deep_nesting_is_refused(tmp_path, program):
    with pytest.raises(ValueError, match="nested at most 100 deep"):
        read_pickle(written(tmp_path, program))


@pytest.mark.parametrize("set_item", [b"Ns", b"(h\x5aNu"])
def test_a_key_of_nested_tuples_is_not_hashed(tmp_path, set_item):
    program = doubled(b"tuple", 90).replace(b"]q\x00", b"Nq\x00", 1)
    key = b"h\x5a" if set_item == b"Ns" else b""
    with pytest.raises(UnsafePickleError, match="keys must be strings or numbers"):
        read_pickle(written(tmp_path, program + b"}" + key + set_item + b"."))


@pytest.mark.parametrize("instruction", [b"\x8f", b"(\x91"])
def test_sets_are_refused_since_they_hash_what_they_hold(tmp_path, instruction):
    with pytest.raises(UnsafePickleError, match="instruction"):
        read_pickle(written(tmp_path, instruction + b"."))


@pytest.mark.parametrize(
    "program",
    [
        b"\x8e" + struct.pack("<Q", 2**62) + b"a.",  # Bytes of 4 EiB.
        b"\x8d" + struct.pack("<Q", 2**40) + b"a.",  # A text of 1 TiB.
        b"\x96" + struct.pack("<Q", 2**40) + b"a.",  # A bytearray of 1 TiB.
        b"X" + struct.pack("<I", 2**32 - 1) + b"a.",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",  # A number of 2 GiB.
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",  # A frame.
    ],
)
def test_a_length_beyond_the_file_s_end_is_refused(tmp_path, program):
    with pytest.raises(ValueError, match=r"bomb\.pkl \(the file has \d+ bytes left where \d+ are announced\)"):
        read_pickle(written(tmp_path, program))


def test_a_memo_slot_far_out_takes_no_room(tmp_path):
    assert read_pickle(written(tmp_path, b"Nr\xff\xff\xff\xff.")) is None


def test_bytes_that_are_used_many_times_are_counted_each_time(tmp_path):
    data = b"q\x00".join([b"X" + struct.pack("<I", 2**20) + b"a" * 2**20, b""])
    encode = b"c_codecs\nencode\nq\x01"
    again = b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R"
    with pytest.raises(ValueError, match="must not grow to more than"):
        read_pickle(written(tmp_path, b"(" + data + encode + again * 1000 + b"l."))


def test_a_list_of_pairs_that_is_used_many_times_is_counted_each_time(tmp_path):
    pairs = b"(" + b"(I1\nNl" * 10_000 + b"lq\x00"
    again = b"ccollections\nOrderedDict\nh\x00\x85R"
    with pytest.raises(ValueError, match="must not grow to more than"):
        read_pickle(written(tmp_path, b"(" + pairs + again * 1000 + b"l."))


def test_a_call_with_thousands_of_arguments_is_refused(tmp_path):
    program = b"cnumpy\nndarray\n(" + b"N" * 10_000 + b"tR."
    with pytest.raises(UnsafePickleError, match="a few arguments"):
        read_pickle(written(tmp_path, program))


def test_instructions_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle_instructions, "MAX_INSTRUCTIONS", 1000)
    assert read_pickle(written(tmp_path, b"(" + b"N" * 997 + b"l.")) == [None] * 997
    with pytest.raises(ValueError, match="at most 1000 instructions"):
        read_pickle(written(tmp_path, b"(" + b"N" * 1000 + b"l."))


def test_an_answer_with_nested_parts_is_not_printed_in_full(tmp_path):
    program = doubled(b"tuple", 90) + b"Q."
    with pytest.raises(UnsafePickleError) as refused:
        read_pickle(written(tmp_path, program))
    assert len(str(refused.value)) < 1000
    with pytest.raises(UnsafePickleError) as refused:
        read_torch_file(written(tmp_path, pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"I1001\n.N." + program))
    assert len(str(refused.value)) < 1000
