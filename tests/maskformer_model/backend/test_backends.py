"""The same weights give the same answers on Keras's other backends, each in a process of its own."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.maskformer_model.helpers.backend_answers import answers


@pytest.fixture(scope="module")
def expected():
    return answers()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_backend_gives_tensorflow_s_answers(project_dir, tmp_path, expected, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"The Keras backend {backend!r} needs the package of that name, which is not installed.")
    output = tmp_path / "answers.npz"
    subprocess.run(
        [sys.executable, "-m", "tests.maskformer_model.helpers.backend_answers", str(output)],
        cwd=project_dir,
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    found = dict(np.load(output))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Whole numbers and masks too: nothing in this picture is so close to a tie that rounding decides.
        bound = 1e-4 * float(np.abs(value).max(initial=0))
        np.testing.assert_allclose(found[name], value, atol=bound, rtol=0, err_msg=f"{backend}: {name}")


@pytest.mark.slow
def test_what_is_compared_is_not_trivial(expected):
    assert expected["panoptic.num_segments"].max() > 1
    assert len(np.unique(expected["semantic_map"])) > 1
    np.testing.assert_array_equal((expected["queries_0"] >= 0).sum(axis=1), [4, 2])
    assert expected["instance.masks"].any()
    for name in ("resnet", "placed", "swin", "mask2former", "eomt"):
        assert np.ptp(expected[f"{name}.layer_1.mask_logits"]) > 0.1
