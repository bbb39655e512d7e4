"""What the documents name is there: commands and their flags, settings, experiments, files, links and anchors.

Their prose also ends at 120 characters a line.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from maskformer_model import experiments
from maskformer_model.command_line import split_command
from maskformer_model.config import ExperimentConfig, override
from maskformer_model.config.experiment import SEED_NAMES
from maskformer_model.config.flat_names import PLACES
from maskformer_model.config.variant import Variant, kinds_of

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*PROJECT_DIR.glob("*.md"), *(PROJECT_DIR / "docs").rglob("*.md")])
NAMES = [path.relative_to(PROJECT_DIR).as_posix() for path in DOCUMENTS]
# Commands of others, and what a reader replaces by something of his own.
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_]*$|[*<{$]|\.\.\.")
OURS = ("maskformer_model", "components", "pipeline", "benchmarks", "tests")
# Programs of ours without arguments: nothing to hold against a help.
WITHOUT_ARGUMENTS = ("benchmarks.contestants.", "tests.pipeline.killed_loop")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that a document shows: its program's words, and its arguments."""

    program: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def flags(self) -> list[str]:
        return [found[0] for word in self.arguments if (found := re.match(r"--[a-z][\w-]*", word))]

    def value_of(self, flag: str) -> str | None:
        for word, following in itertools.pairwise((*self.arguments, "")):
            if word == flag:
                return following
            if word.startswith(f"{flag}="):
                return word.partition("=")[2]
        return None


def text_of(name: str) -> str:
    return (PROJECT_DIR / name).read_text("utf-8")


def prose_of(name: str) -> str:
    return re.sub(r"^```.*?^```", "", text_of(name), flags=re.MULTILINE | re.DOTALL)


def shown_lines(name: str) -> Iterator[str]:
    """Yields the lines of code blocks, with `\\` at their ends joined, and inline code."""
    text = text_of(name)
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    blocks += re.findall(
        r"(?:^(?: {4}|\t).*\n)+", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.MULTILINE
    )
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose_of(name))


def commands_of(name: str) -> Iterator[Command]:
    """Yields the commands of ours that a document shows."""
    variables: dict[str, str] = {}
    for line in shown_lines(name):
        line = re.sub(r"\s#\s.*", "", line.strip())
        if assigned := re.match(r"^([A-Z]\w*)=(\".*\"|\S+)$", line):
            variables[assigned[1]] = assigned[2].strip('"')
            continue
        for variable, value in variables.items():
            line = line.replace(f"${variable}", value).replace("${" + variable + "}", value)
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        while words and re.match(r"^[A-Z_]+=", words[0]):
            words = words[1:]
        if len(words) > 1 and os.path.basename(words[0]) in ("python", "python3", "python3.11"):
            size = 3 if words[1] == "-m" else 2
            if len(words) >= size:
                yield Command(("python", *words[1:size]), tuple(words[size:]))
        elif words and words[0] == "make":
            yield Command(("make",), tuple(words[1:]))
        elif len(words) > 1 and words[0] == "maskformer":
            name, arguments = split_command(words[1:])
            yield Command(("maskformer", name or words[1]), tuple(arguments))


def our_commands() -> list[tuple[str, Command]]:
    found = [(name, command) for name in NAMES for command in commands_of(name)]
    return [(name, command) for name, command in found if not PLACEHOLDER.search(command.program[-1])]


def test_the_documents_show_commands():
    programs = {command.program[-1] for _, command in our_commands()}
    assert {"pipeline/run_local.py", "maskformer_model.train", "make"} <= programs


PYTHON_PROGRAMS = sorted(
    {
        command.program
        for _, command in our_commands()
        if command.program[0] == "python" and command.program[-1].startswith(OURS)
    }
)
SUB_COMMANDS = sorted({command.program for _, command in our_commands() if command.program[0] == "maskformer"})
PROGRAMS = [program for program in PYTHON_PROGRAMS if not program[-1].startswith(WITHOUT_ARGUMENTS)] + SUB_COMMANDS


@pytest.mark.parametrize("program", PYTHON_PROGRAMS, ids=lambda program: program[-1])
def test_a_program_that_is_shown_exists(program):
    path = PROJECT_DIR / (program[-1] if program[1] != "-m" else program[-1].replace(".", "/"))
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@functools.cache
def help_of(program: tuple[str, ...]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR), "COLUMNS": "200"}
    if program[0] == "maskformer":
        words = ["-m", "maskformer_model", *(word for word in " ".join(program[1:]).split() if word[0] != "-")]
    else:
        words = list(program[1:])
    done = subprocess.run(
        [sys.executable, *words, "--help"], capture_output=True, text=True, cwd=PROJECT_DIR, env=environment
    )
    assert done.returncode == 0, f"{program}: {done.stderr[-500:]}"
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[-1])
def test_a_command_that_is_shown_has_a_help_that_names_the_flags_that_are_shown(program):
    text = help_of(program)
    shown = {flag for _, command in our_commands() if command.program == program for flag in before_two_dashes(command)}
    subcommands = {
        word for _, c in our_commands() if c.program == program for word in c.arguments[:1] if word.isalpha()
    }
    for subcommand in sorted(subcommands & set(re.findall(r"[a-z_]+", text))):
        text += help_of((*program, subcommand))
    unknown = sorted(flag for flag in shown if not re.search(rf"{re.escape(flag)}\b", text))
    assert unknown == []


def before_two_dashes(command: Command) -> list[str]:
    """The flags of the program itself; what follows `--` is another program's."""
    words = command.arguments
    own = words[: words.index("--")] if "--" in words else words
    return Command(command.program, own).flags


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_that_is_named_exists(name):
    named = {command.value_of("--experiment") for command in commands_of(name)} - {None}
    named |= set(re.findall(r"\b(?:coco|ade20k|cityscapes|vistas)_(?:panoptic|semantic|instance)_\w+", text_of(name)))
    not_experiments = {"coco_panoptic_inference"}
    assert {word for word in named if not PLACEHOLDER.search(word)} - set(
        experiments.names()
    ) - not_experiments == set()


@pytest.mark.parametrize("name", NAMES)
def test_an_override_that_is_shown_fits_its_experiment(name):
    for command in commands_of(name):
        text, experiment = command.value_of("--params_override"), command.value_of("--experiment") or "coco_small"
        if text and not PLACEHOLDER.search(text) and not PLACEHOLDER.search(experiment):
            override(experiments.get(experiment), text)


def settings(config, path="") -> Iterator[str]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        yield f"{path}{field.name}"
        kinds = [kind() for kind in kinds_of(value).values()] if isinstance(value, Variant) else [value]
        for kind in kinds:
            if dataclasses.is_dataclass(kind):
                yield from settings(kind, f"{path}{field.name}.")


SETTINGS = {*settings(ExperimentConfig()), *SEED_NAMES, *(f"task.model.{flat}" for flat in PLACES)}


# The history names what was; the page on extending names settings that its reader adds.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("CHANGELOG.md", "docs/how-to-extend.md")])
def test_a_setting_that_is_named_exists(name):
    named = set(re.findall(r"`((?:task|trainer|runtime)\.[a-z_0-9.]*[a-z_0-9])(?:=[^`]*)?`", text_of(name)))
    assert named - SETTINGS == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_the_project_that_is_named_exists(name):
    folders = "maskformer_model|components|pipeline|tests|benchmarks|docker|scripts|docs"
    pattern = rf"(?<![\w/.])((?:{folders})/[\w/.-]*\w)(?![\w*])"
    named = {path for path in re.findall(pattern, text_of(name)) if not PLACEHOLDER.search(path)}
    assert sorted(path for path in named if not (PROJECT_DIR / path).exists()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_make_target_that_is_shown_exists(name):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), flags=re.MULTILINE))
    shown = {
        command.arguments[0] for command in commands_of(name) if command.program == ("make",) and command.arguments
    }
    assert {word for word in shown if re.fullmatch(r"[a-z-]+", word)} - targets == set()


# The widest line of prose. Tables, code, and a line that is one link or one picture cannot be broken.
PROSE_WIDTH = 120
UNBREAKABLE = re.compile(r"\||(?: {4}|\t)|!?\[[^\]]*\]\([^)]*\)$")


def wide_lines(text: str) -> list[str]:
    """Returns the lines of prose in a document that are wider than `PROSE_WIDTH`."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in prose.splitlines() if len(line) > PROSE_WIDTH and not UNBREAKABLE.match(line)]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_prose_ends_at_120_characters(name):
    assert wide_lines(text_of(name)) == []


def test_only_prose_has_a_widest_line():
    words, wide = "word " * 23 + "words", "word " * 23 + "wordss"
    assert wide_lines(f"{words}\n\n{wide}\n") == [wide]
    assert wide_lines(f"- {words}\n") == [f"- {words}"]
    assert wide_lines(f"| {wide} |\n\n    {wide}\n\n```\n{wide}\n```\n\n![{wide}](a.png)\n") == []
    assert wide_lines(f"[{words}](a.md) and more\n") == [f"[{words}](a.md) and more"]


def anchors_of(path: pathlib.Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_a_link_leads_to_a_file_and_to_a_heading_in_it(name):
    here = PROJECT_DIR / name
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(name)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (here.parent / file) if file else here
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


MOST_WORDS = 700


def words_shown(text: str) -> list[str]:
    """Returns the words that a reader of a document sees, code and tables included; addresses of links are not."""
    return re.findall(r"\S*\w\S*", re.sub(r"\]\([^)]*\)", "]", text))


def test_the_readme_is_read_in_a_few_minutes():
    assert words_shown("| a | b |\n\n[two words](a/b.md) and `code` - 3\n") == [
        "a",
        "b",
        "[two",
        "words]",
        "and",
        "`code`",
        "3",
    ]
    assert len(words_shown(text_of("README.md"))) <= MOST_WORDS


def source_text() -> str:
    """Returns all source code, with string literals that stand one after the other joined."""
    paths = (path for package in OURS[:3] for path in sorted((PROJECT_DIR / package).rglob("*.py")))
    return "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text("utf-8")) for path in paths)


def test_a_message_that_is_explained_can_be_printed():
    quoted = re.findall(r"^\| `([^`]+)` \|", text_of("docs/troubleshooting.md"), flags=re.MULTILINE)
    assert len(quoted) > 20
    source = source_text()
    parts = [part.strip(" ()") for message in quoted for part in message.split("...")]
    assert [part for part in parts if part not in source] == []


def test_every_page_is_in_the_site():
    pages = {path.relative_to(PROJECT_DIR / "docs").as_posix() for path in (PROJECT_DIR / "docs").rglob("*.md")}
    assert set(re.findall(r"[:-] ([\w/-]+\.md)$", text_of("mkdocs.yml"), flags=re.MULTILINE)) == pages
