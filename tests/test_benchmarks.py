"""The table's measurements are all found, and two programs are timed in turns.

`python -m tests.test_benchmarks TASK` is one of these programs.
"""

import importlib
import pathlib
import re
import sys
from collections.abc import Callable

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.contestants.turns import in_turns, serve


@pytest.mark.parametrize("name", benchmarks.measurements())
def test_every_measurement_is_a_module_with_a_function_that_measures(name):
    assert isinstance(importlib.import_module(benchmarks.measurements()[name]).measure, Callable)


def test_the_measurements_that_the_documents_name_exist(project_dir):
    texts = [path.read_text("utf-8") for path in [project_dir / "README.md", *(project_dir / "docs").glob("*.md")]]
    lists = [found for text in texts for found in re.findall(r'BENCH="?([a-z_ ]+)', text)]
    named = {name for names in lists for name in names.split()}
    assert {"training_path", "matcher"} <= named <= benchmarks.measurements().keys()


def test_every_program_runs_once_a_turn_after_warming_up(tmp_path):
    program, log = sys.modules[__name__], tmp_path / "runs"
    programs = in_turns((program, program), str(log), turns=3)
    assert [len(program.seconds) for program in programs] == [3, 3]
    assert [program.name for program in programs] == ["writer", "writer"]
    assert log.read_text("utf-8") == "run\n" * 2 * (2 + 3)


if __name__ == "__main__":

    def write_a_line() -> None:
        with open(pathlib.Path(sys.argv[1]), "a", encoding="utf-8") as file:
            file.write("run\n")

    serve("writer", write_a_line)
