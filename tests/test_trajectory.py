"""`fit` follows the official losses over all recorded steps."""

import pytest

from tests import trajectory


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_swin_fpn", "tiny_resnet50_transformer_fpn"])
def test_fit_follows_the_official_losses(project_dir, capsys, tmp_path, name):
    figure = tmp_path / "figure.svg"
    code = trajectory.main([str(project_dir / "tests" / "golden" / name), "--figure", str(figure)])
    assert code == 0, capsys.readouterr().out
    assert figure.read_text().count("<circle") == 4 * 3
