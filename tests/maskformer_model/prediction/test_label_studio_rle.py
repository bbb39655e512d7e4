"""Label Studio's run lengths: packed and unpacked, and blocks of values that follow each other."""

from __future__ import annotations

import numpy as np
import pytest

from maskformer_model.prediction.label_studio_rle import pack_mask, unpack_mask


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 333)])
def test_a_mask_survives_packing(shape):
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = np.random.default_rng(7).random(shape) < share
        np.testing.assert_array_equal(unpack_mask(pack_mask(mask), shape), mask)


def test_the_bytes_of_one_pixel():
    # 4 values of 8 bits; sizes 3, 6, 10, 16; then "repeats, size 0, 4 values less one, 255".
    bits = (
        f"{4:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 6, 10, 16)) + "1" + "00" + "011" + "1" * 8
    )
    bits += "0" * (-len(bits) % 8)
    assert pack_mask(np.ones((1, 1), bool)) == [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def test_values_that_follow_each_other_are_read():
    # Two pixels, the first one opaque: a block of eight single values.
    values = [9, 9, 9, 255, 0, 0, 0, 0]
    bits = f"{8:032b}" + f"{7:05b}" + f"{2:04b}" * 4 + "0" + "00" + "111" + "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert unpack_mask(packed, (1, 2)).tolist() == [[True, False]]


def test_damage_is_an_error():
    packed = pack_mask(np.eye(4, dtype=bool))
    with pytest.raises(ValueError, match="truncated"):
        unpack_mask(packed[:-4], (4, 4))
    with pytest.raises(ValueError, match="truncated"):
        unpack_mask([], (4, 4))
    with pytest.raises(ValueError, match=r"must be of \(4, 5\) px"):
        unpack_mask(packed, (4, 5))
