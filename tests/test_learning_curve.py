"""`benchmarks.learning_curve`: what trainings left, as a table and a figure."""

import json
import xml.etree.ElementTree as ET

import pytest

from benchmarks import learning_curve
from benchmarks.learning import chart


@pytest.fixture
def trainings(tmp_path):
    rows = [{"step": step, "seconds": step / 2, "loss": 1.0} | ({"pq": step / 1000} if step % 20 == 0 else {})
            for step in range(10, 101, 10)]  # fmt: skip
    for place in ("run", "model/assets.extra"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "training_history.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_row_and_a_point_per_evaluation_of_each_training(trainings, capsys):
    figure = trainings / "curve.svg"
    arguments = [f"a & b={trainings / 'run'}", f"pushed={trainings / 'model'}", "--figure", str(figure)]
    assert learning_curve.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10
    assert printed[4].split() == ["a", "&", "b", "step", "100", "50", "s", "0.1000"]
    svg = ET.fromstring(figure.read_text("utf-8"))
    tags = [element.tag.rpartition("}")[2] for element in svg.iter()]
    assert (tags.count("polyline"), tags.count("circle")) == (2, 10)
    # The highest value is at the top of the chart, the last step at its right end, and both are named.
    last = [float(e.get("cy")) for e in svg.iter() if e.tag.endswith("circle")][4]
    assert last == pytest.approx(chart.TOP)
    assert any((element.text or "") == "a & b 0.100" for element in svg.iter())


def test_a_folder_without_the_score_is_named(trainings, capsys):
    with pytest.raises(SystemExit):
        learning_curve.main([f"x={trainings / 'run'}", "--score", "ap"])
    assert "has no `ap`" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"training_history\.json"):
        learning_curve.main([f"x={trainings}"])
