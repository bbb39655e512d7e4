"""Losses are computed in float32 under half precision, and in float64 where Keras's floatx is float64."""

import keras
import numpy as np
import pytest

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.data.normalization import normalize
from maskformer_model.modeling.layers.bilinear import bilinear_matrix


@pytest.fixture
def floatx(request):
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx(before)


@pytest.mark.parametrize(
    ("floatx", "expected"),
    [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
    indirect=["floatx"],
)
def test_the_type_is_float32_at_least(floatx, expected):
    assert precise_dtype() == expected


@pytest.mark.parametrize("floatx", ["float64"], indirect=True)
def test_float64_keeps_its_digits(floatx):
    # A pixel of 1, and the second of seven samples of three, at 1.5 * 3 / 7 - 0.5 = 1 / 7.
    red = keras.ops.convert_to_numpy(normalize(np.ones((1, 1, 1, 3), np.uint8)))[0, 0, 0, 0]
    assert red == pytest.approx((1 - 123.675) / 58.395, rel=1e-15)
    row = keras.ops.convert_to_numpy(bilinear_matrix(3, 7))[1]
    np.testing.assert_allclose(row, [6 / 7, 1 / 7, 0], rtol=1e-15)
