"""The order in which the files of tests start: `tests/conftest.py`."""

import os
import subprocess
import sys

ONE = "def test_one():\n    pass\n"
TWO = ONE + "\n\ndef test_two():\n    pass\n"
TAKES = "import pytest\n\npytestmark = pytest.mark.takes(seconds={})\n\n\n"
FILES = {
    "conftest.py": "from tests.conftest import pytest_collection_modifyitems\n",
    "test_a.py": ONE,
    "test_b.py": TWO,
    "test_c.py": TAKES.format(40) + ONE,
    "test_d.py": TAKES.format(200) + TWO,
    "test_e.py": TWO,
}


def test_the_files_that_take_longest_come_first_then_those_with_the_most_tests_that_run(project_dir, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    # Without its second test, the last file has no more than the first one.
    done = subprocess.run(
        [*command, "--deselect", "test_e.py::test_two", "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(project_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [line for line in done.stdout.splitlines() if "::" in line and "Warning" not in line]
    assert found == [
        "test_d.py::test_one",
        "test_d.py::test_two",
        "test_c.py::test_one",
        "test_b.py::test_one",
        "test_b.py::test_two",
        "test_a.py::test_one",
        "test_e.py::test_one",
    ]
