"""Raw bytes of tensors, and requests for thresholds."""

import pytest

from maskformer_model.serve.kserve.tensors import InputTensor, OutputTensor, read_raw, read_request
from maskformer_model.serve.rest import BadRequestError


def test_raw_bytes_have_a_length_before_each_value():
    assert read_raw("BYTES", b"\x03\0\0\0one\0\0\0\0", 2) == [b"one", b""]
    assert read_raw("FP32", b"\0\0\0\x3f", 1) == [0.5]
    assert OutputTensor("a", "string", (2,), [b"one", b""]).raw() == b"\x03\0\0\0one\0\0\0\0"
    assert OutputTensor("a", "bool", (2,), [True, False]).raw() == b"\x01\0"


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        ("BYTES", b"\x04\0\0\0one"),
        ("BYTES", b"\x01\0"),
        ("BYTES", b"\0\0\0\0" * 3),
        ("BYTES", b"\xff\xff\xff\xff"),
        ("FP32", b"\0\0\0"),
        ("FP32", b"\0\0\0\0" * 3),
        ("INT32", b"\0\0\0\0"),
        (None, b""),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(datatype, raw):
    with pytest.raises(BadRequestError):
        read_raw(datatype, raw, 2)


def test_thresholds_ask_for_the_signature_that_takes_them():
    photos = InputTensor("image_bytes", "BYTES", (1, 1), [b"photo"])
    thresholds = [InputTensor(name, "FP32", (1,), [0.5]) for name in ("object_mask_threshold", "overlap_threshold")]
    asked = read_request([photos, *thresholds], {}, max_photos=1)
    assert (asked.signature, asked.photos) == ("panoptic", (b"photo",))
    assert asked.scalars == (("object_mask_threshold", 0.5), ("overlap_threshold", 0.5))
    assert read_request([photos], {}, max_photos=1).signature == "serving_default"
    assert read_request([photos], {"signature_name": "semantic"}, max_photos=1).signature == "semantic"
    with pytest.raises(BadRequestError, match="in 0..1"):
        read_request([photos, thresholds[0], InputTensor("overlap_threshold", "FP32", (1,), [7.0])], {}, max_photos=1)
    with pytest.raises(BadRequestError, match="must be one number"):
        read_request([photos, InputTensor("overlap_threshold", "FP32", (2,), [0.1, 0.2])], {}, max_photos=1)
