"""TensorFlow Serving's request form, read; answers, laid out."""

import base64
import json

import pytest

from maskformer_model.serve import rest
from tests.maskformer_model.helpers.small_export import encoded, photo

ONE = {"b64": base64.b64encode(b"one").decode()}
TWO = {"b64": base64.b64encode(b"two").decode()}


def read(**document):
    return rest.read_request(json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [ONE, TWO]},
        {"instances": [{"image_bytes": ONE}, {"image_bytes": TWO}]},
        {"inputs": {"image_bytes": [ONE, TWO]}},
        {"inputs": [ONE, TWO]},
    ],
    ids=["row", "named row", "column", "unnamed column"],
)
def test_every_form_of_a_request_gives_the_same_photos(document):
    asked = read(**document)
    assert (asked.signature, asked.photos, asked.scalars) == ("serving_default", (b"one", b"two"), ())
    assert asked.by_row == ("instances" in document)


def test_thresholds_belong_to_the_signature_panoptic():
    inputs = {"image_bytes": [ONE], "overlap_threshold": 0, "object_mask_threshold": 0.5}
    asked = read(inputs=inputs, signature_name="panoptic")
    assert asked.scalars == (("object_mask_threshold", 0.5), ("overlap_threshold", 0.0))
    with pytest.raises(rest.BadRequestError, match=r"serving_default takes \['image_bytes'\]"):
        read(inputs=inputs)
    with pytest.raises(rest.BadRequestError, match=r"panoptic takes .*overlap_threshold"):
        read(instances=[ONE], signature_name="panoptic")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        (b"[]", "either `instances` or `inputs`"),
        (b"{}", "either `instances` or `inputs`"),
        (b'{"instances": [], "inputs": {}}', "either `instances` or `inputs`"),
        (b'{"instances": []}', "at least one photo"),
        (b'{"instances": {"b64": ""}}', "at least one photo"),
        (b'{"instances": ["photo"]}', r"`instances\[0\]` must be"),
        (b'{"instances": [{"b64": "b25l"}, {"b64": "??"}]}', r"`instances\[1\]` must be base64"),
        (b'{"instances": [{"b64": 7}]}', r"`instances\[0\]` must be"),
        (b'{"instances": [{"b64": "b25l"}], "signature_name": 7}', "`signature_name` must be a name"),
        (b'{"inputs": {"pixels": []}}', "`inputs.image_bytes` must be a list"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(body, message):
    with pytest.raises(rest.BadRequestError, match=message):
        rest.read_request(body)


def test_a_threshold_that_is_no_number_is_refused():
    for value in ("0.5", True, None, float("nan")):
        inputs = {"image_bytes": [ONE], "overlap_threshold": value, "object_mask_threshold": 0.5}
        with pytest.raises(rest.BadRequestError, match="`inputs.overlap_threshold` must be a number"):
            read(inputs=inputs, signature_name="panoptic")


def test_a_large_photo_is_refused_from_its_header():
    small, large = encoded(photo(10, 10)), encoded(photo(10, 11))
    rest.require_size((small, b"no photo", small[:20]), max_pixels=100)
    with pytest.raises(
        rest.BadRequestError, match=r"image_bytes\[1\]` must have at most 100 pixels. Received: 10 x 11"
    ):
        rest.require_size((small, large), max_pixels=100)


def test_answers_are_rows_or_columns():
    answers = [{"scores": [0.5], "num_segments": 1}, {"scores": [0.0], "num_segments": 0}]
    columns = {"outputs": {"scores": [[0.5], [0.0]], "num_segments": [1, 0]}}
    assert rest.answer_document(answers, by_row=False) == columns


def test_a_row_s_lists_end_with_the_last_segment():
    answer = {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 0, 0]], "scores": [0.9, 0.5, 0.0], "num_segments": 2}
    trimmed = {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "scores": [0.9, 0.5], "num_segments": 2}
    empty = {"scores": [0.0, 0.0, 0.0], "num_segments": 0}
    document = rest.answer_document([answer, empty], by_row=True)
    assert document == {"predictions": [trimmed, {"scores": [], "num_segments": 0}]}
    assert len(answer["scores"]) == 3
    instances = {"scores": [0.9, 0.0], "num_instances": 1}
    assert rest.answer_document([instances], by_row=True) == {"predictions": [{"scores": [0.9], "num_instances": 1}]}
    # A semantic answer's areas are one per class.
    semantic = {"semantic_png_bytes": {"b64": ""}, "areas": [4, 0, 2]}
    assert rest.answer_document([semantic], by_row=True) == {"predictions": [semantic]}
