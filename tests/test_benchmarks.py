"""The table's measurements are all found, and two programs are timed in turns.

`python -m tests.test_benchmarks TASK` is one of these programs.
"""

import dataclasses
import importlib
import pathlib
import re
import sys
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.contestants.turns import in_turns, serve
from benchmarks.training.padding import photo_share, small_recipe


@pytest.mark.parametrize("name", benchmarks.measurements())
def test_every_measurement_is_a_module_with_a_function_that_measures(name):
    assert isinstance(importlib.import_module(benchmarks.measurements()[name]).measure, Callable)


def test_the_measurements_that_the_documents_name_exist(project_dir):
    texts = [path.read_text("utf-8") for path in [project_dir / "README.md", *(project_dir / "docs").glob("*.md")]]
    lists = [found for text in texts for found in re.findall(r'BENCH="?([a-z_ ]+)', text)]
    named = {name for names in lists for name in names.split()}
    assert {"training_path", "matcher"} <= named <= benchmarks.measurements().keys()


def test_a_wide_and_a_high_photo_in_one_group_are_half_padding():
    # 2 x 4 and 4 x 2 px are padded to 4 x 4 px: 16 of 32 px are photo. With their like none is padding.
    sizes_px = np.array([[2, 4], [4, 2], [2, 4], [4, 2]])
    assert photo_share(sizes_px, 2) == 0.5
    assert photo_share(sizes_px[[0, 2, 1, 3]], 2) == 1.0
    assert photo_share(sizes_px[:1], 1) == 1.0


def test_the_step_of_the_padding_benchmark_sees_the_recipe_at_a_quarter_of_its_size():
    alone, grouped = small_recipe(0), small_recipe(2)
    assert alone.task.train_data != grouped.task.train_data
    assert dataclasses.replace(grouped.task.train_data, aspect_ratio_group_size=0) == alone.task.train_data
    assert dataclasses.replace(grouped.task, train_data=alone.task.train_data) == alone.task
    assert grouped.trainer == alone.trainer
    parser = grouped.task.train_data.parser
    # 480 to 800 px in steps of 32, at most 1333; crops of 384 to 600 px of photos of 400, 500 or 600.
    assert parser.min_sizes_px == tuple(range(120, 201, 8))
    assert (parser.max_size_px, parser.crop_size_px, parser.crop_min_sizes_px) == (333, (96, 150), (100, 125, 150))
    assert (grouped.task.train_data.global_batch_size, grouped.trainer.accumulation_steps) == (64, 32)


def test_every_program_runs_once_a_turn_after_warming_up(tmp_path):
    program, log = sys.modules[__name__], tmp_path / "runs"
    programs = in_turns([(program, str(log))] * 2, turns=3)
    assert [len(program.seconds) for program in programs] == [3, 3]
    assert [program.name for program in programs] == ["writer", "writer"]
    assert log.read_text("utf-8") == "run\n" * 2 * (2 + 3)


if __name__ == "__main__":

    def write_a_line() -> None:
        with open(pathlib.Path(sys.argv[1]), "a", encoding="utf-8") as file:
            file.write("run\n")

    serve("writer", write_a_line)
