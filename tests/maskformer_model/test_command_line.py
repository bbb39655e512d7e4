"""The command `maskformer`: each sub command answers --help without TensorFlow, and mistakes are sentences."""

import os
import subprocess
import sys

import pytest

from maskformer_model import command_line, extras

EVERY_HELP = """
import contextlib, io, sys
from maskformer_model import command_line

for name in [*command_line.COMMANDS, *command_line.GROUPS, ""]:
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            command_line.main([*name.split(), "--help"])
    except SystemExit as error:
        assert error.code == 0, name
    print(" ".join(output.getvalue().split()[:2 + len(name.split())]))
    heavy = {"apache_beam", "keras", "kfp", "numpy", "tensorflow", "tfx"} & set(sys.modules)
    assert not heavy, f"{name} --help imports {heavy}"
"""


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_every_sub_command_has_a_help_that_needs_no_tensorflow_and_shows_its_own_name(project_dir):
    done = run_python("-c", EVERY_HELP, PYTHONPATH=str(project_dir))
    assert done.returncode == 0, done.stderr
    names = [*command_line.COMMANDS, *command_line.GROUPS]
    assert done.stdout.splitlines() == [*(f"usage: maskformer {name}" for name in names), "usage: maskformer"]


def test_the_sub_commands_are_the_ones_that_were_promised():
    groups = {name.partition(" ")[0] for name in command_line.COMMANDS}
    of_data, of_models = {"demo", "inspect", "manifest"}, {"convert", "train", "evaluate", "predict", "export", "serve"}
    assert groups == {*of_data, *of_models, "pipeline"}
    steps = {name.partition(" ")[2] for name in command_line.COMMANDS if name.startswith("pipeline ")}
    assert steps == {"run", "compile", "test", "schedule", "retrain", "rollback", "lineage"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["train", "--mode", "eval"], ("train", ["--mode", "eval"])),
        (["pipeline", "run", "--data", "x"], ("pipeline run", ["--data", "x"])),
        (["pipeline"], ("", [])),
        (["pipeline", "--help"], ("", [])),
        (["retrain"], ("", [])),
        ([], ("", [])),
    ],
)
def test_the_longest_name_that_the_words_begin_with_is_the_command(words, found):
    assert command_line.split_command(words) == found


def test_a_command_that_does_not_exist_ends_with_status_2_and_the_list_of_those_that_do(capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["trane"])
    assert stopped.value.code == 2
    assert "'trane'" in (errors := capsys.readouterr().err)
    assert "'train'" in errors


def test_without_a_command_the_list_is_printed(capsys):
    assert command_line.main([]) == 2
    assert "convert" in capsys.readouterr().out
    assert command_line.main(["pipeline"]) == 2
    assert "rollback" in capsys.readouterr().out


def test_the_version_is_the_installed_one(capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"maskformer {command_line.version()}\n"


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch, capsys):
    monkeypatch.setitem(extras.MODULES_OF_EXTRAS, "pipeline", ("tfx_that_nobody_has",))
    assert command_line.main(["pipeline", "run", "--data", "nowhere"]) == 2
    errors = capsys.readouterr().err
    assert "maskformer pipeline run: tfx_that_nobody_has not found. Install the extra `pipeline`" in errors
    assert "pip install '.[pipeline]'" in errors
    with pytest.raises(ModuleNotFoundError, match="Install the extra `pipeline`"):
        extras.require("pipeline")


def test_ours_is_imported_where_another_package_has_the_same_name(project_dir, tmp_path):
    for name in ("pipeline", "components"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the other one')")
    paths = os.pathsep.join([str(tmp_path), str(project_dir)])
    done = run_python("-m", "maskformer_model", "pipeline", "run", "--help", PYTHONPATH=paths)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("maskformer pre", {"predict "}),
        ("maskformer pipeline ro", {"rollback "}),
        ("maskformer convert --so", {"--source "}),
        ("maskformer pipeline compile --target ", {"vertex", "kubeflow"}),
    ],
)
def test_the_shell_completes_commands_flags_and_values(project_dir, tmp_path, line, completed):
    pytest.importorskip("argcomplete", reason="the extra `completion` brings argcomplete")
    words = tmp_path / "words"
    environment = {
        "PYTHONPATH": str(project_dir),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(words),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    program = "import sys; from maskformer_model.command_line import main; sys.exit(main())"
    assert run_python("-c", program, **environment).returncode == 0
    assert set(words.read_text().split("\n")) == completed


def test_the_installed_command_is_this_module(project_dir):
    assert '"maskformer = maskformer_model.command_line:main"' in (project_dir / "setup.py").read_text("utf-8")
