"""How a ViT's patches and positions are fitted to other sizes."""

import numpy as np
import pytest

from maskformer_model.pretrained.eomt.resampling import bicubic_matrix, fitted, resampled_patches

PREFIX = "encoder.backbone."


def test_a_row_of_the_bicubic_matrix_is_the_cubic_s_values():
    # Doubling four samples: the second new one lies at 0.25 of the old ones, counted from the first one's centre.
    matrix = bicubic_matrix(4, 8)
    near, far = (1.5 * 0.25 - 2.5) * 0.25**2 + 1, (1.5 * 0.75 - 2.5) * 0.75**2 + 1
    left, right = ((-0.5 * 1.25 + 2.5) * 1.25 - 4) * 1.25 + 2, ((-0.5 * 1.75 + 2.5) * 1.75 - 4) * 1.75 + 2
    np.testing.assert_allclose(matrix[3], [left, near, far, right], atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_array_equal(bicubic_matrix(3, 3), np.eye(3))


def test_a_resized_patch_gives_what_the_patch_gave():
    rng = np.random.default_rng(0)
    kernel, patch = rng.normal(size=(2, 3, 14, 14)), rng.normal(size=(3, 14, 14))
    resize = bicubic_matrix(14, 16)
    larger = resize @ patch @ resize.T
    resampled = resampled_patches(kernel, 16)
    assert resampled.shape == (2, 3, 16, 16)
    np.testing.assert_allclose((resampled * larger).sum((1, 2, 3)), (kernel * patch).sum((1, 2, 3)), atol=1e-3)


def test_the_class_token_takes_over_its_position():
    arrays = {
        f"{PREFIX}cls_token": np.full((1, 1, 2), 3.0, np.float32),
        f"{PREFIX}pos_embed": np.arange(10, dtype=np.float32).reshape(1, 5, 2),
        f"{PREFIX}patch_embed.proj.weight": np.zeros((2, 3, 4, 4), np.float32),
    }
    found = fitted(arrays, 4, (2, 2))
    assert found[f"{PREFIX}cls_token"].tolist() == [[[3.0, 4.0]]]
    assert found[f"{PREFIX}pos_embed"].tolist() == [[[2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]]
    assert found[f"{PREFIX}patch_embed.proj.weight"] is arrays[f"{PREFIX}patch_embed.proj.weight"]


def test_equal_positions_stay_equal_at_another_size():
    arrays = {f"{PREFIX}pos_embed": np.full((1, 9, 2), 5.0, np.float32)}
    np.testing.assert_allclose(fitted(arrays, 16, (4, 6))[f"{PREFIX}pos_embed"], np.full((1, 24, 2), 5.0), atol=1e-6)


@pytest.mark.parametrize("sizes", [(14, 16), (16, 14), (37, 40)])
def test_resizing_is_pytorch_s(sizes):
    torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")
    identity = torch.eye(sizes[0], dtype=torch.float64)[None, None]
    size = (sizes[1], sizes[0])
    expected = torch.nn.functional.interpolate(identity, size, mode="bicubic", antialias=True)[0, 0].numpy()
    np.testing.assert_allclose(bicubic_matrix(*sizes), expected, atol=1e-12)
