"""A packed body is unpacked whole, and no further than it may grow."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from maskformer_model.serve.guards.packed_body import most_unpacked_bytes, unpack
from maskformer_model.serve.guards.request_error import RequestError

BODY = b'{"instances": [{"b64": "AAAA"}]}'


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
    ],
)
def test_what_clients_send_comes_out_as_it_was(encoding, packed):
    assert unpack(bytearray(packed), encoding, len(BODY)) == BODY


@pytest.mark.parametrize(
    ("encoding", "packed", "status"),
    [
        ("br", BODY, 415),
        ("gzip, gzip", BODY, 415),
        ("gzip", b"", 400),
        ("deflate", b"", 400),
        ("gzip", BODY, 400),
        ("gzip", gzip.compress(BODY)[:-4], 400),
        ("gzip", gzip.compress(BODY) * 2, 400),
        ("gzip", gzip.compress(BODY + b" "), 413),
    ],
)
def test_what_is_damaged_unknown_or_too_large_is_refused(encoding, packed, status):
    with pytest.raises(RequestError) as refused:
        unpack(packed, encoding, len(BODY))
    assert refused.value.status == status


def test_a_body_may_grow_eightfold_and_by_a_mebibyte_within_the_limit_of_all_bodies():
    assert most_unpacked_bytes(100, 32 << 20) == 800 + (1 << 20)
    assert most_unpacked_bytes(30 << 20, 32 << 20) == 32 << 20


def test_no_more_is_unpacked_than_may_be():
    packed = zlib.compress(bytes(50 << 20))
    tracemalloc.start()
    with pytest.raises(RequestError):
        unpack(packed, "deflate", most_unpacked_bytes(len(packed), 32 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20
