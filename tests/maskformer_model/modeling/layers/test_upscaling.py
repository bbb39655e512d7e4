"""How patches become pixels."""

import numpy as np
import pytest

from maskformer_model.modeling.layers.upscaling import Upscaling, num_upscalings


@pytest.mark.parametrize(("patch_size", "count"), [(4, 1), (8, 1), (14, 1), (16, 2), (32, 3)])
def test_patches_of_a_power_of_two_come_to_four_pixels(patch_size, count):
    assert num_upscalings(patch_size) == count


def test_each_cell_becomes_two_by_two_by_the_kernel():
    layer = Upscaling(2)
    layer.build()
    kernel = np.zeros((2, 2, 2, 2), np.float32)  # [row, column, out, in]
    kernel[0, 1, 0, 0], kernel[1, 0, 1, 1] = 20.0, 30.0  # Large: GELU leaves them as they are.
    layer.kernel.assign(kernel)
    layer.bias.assign(np.zeros(2))
    middle = np.zeros((3, 3, 2, 1), np.float32)
    middle[1, 1] = 1.0
    layer.depthwise.kernel.assign(middle)
    doubled = np.asarray(layer(np.array([[[[1.0, 0.0], [0.0, 1.0]]]], np.float32)))[0]
    assert doubled.shape == (2, 4, 2)
    # A layer norm of two channels gives 1 to the larger one and -1 to the other; of equal ones, 0.
    np.testing.assert_allclose(doubled[..., 0], [[0, 1, 0, 0], [0, 0, -1, 0]], atol=1e-3)
