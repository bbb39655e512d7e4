"""The recipes beside the official ones as Markdown: `docs/recipes.md`, or every field of one recipe."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from maskformer_model import experiments
from tests.recipes.official import FILES, Recipe, data, recipe_of
from tests.recipes.reasons import BUILT_IN, OURS_ALONE, THE_USER_S
from tests.recipes.rules import OF_RECIPE, NotRead, fields_of

_INTRODUCTION = (
    "`python -m tests.recipes write` writes this page, and `tests/recipes/test_recipes.py` checks it. "
    "Every field of every registered recipe is compared with the value that the official code gives it: from its YAML "
    "file, the defaults below that, and the mapper ({commits}; values and files: `tests/recipes/official.json`). "
    "`python -m tests.recipes show NAME` prints a recipe field by field, each value with the file that gives it. "
    "A dash: the field has no effect in that recipe. Not official, and not here: {own}."
)
_HEADINGS = {
    "task.model.": "Network",
    "task.train_data.": "Training data",
    "trainer.": "Training",
    "task.inference.": "Test",
    "task.": "Task and losses",
}


def page() -> str:
    """The whole of `docs/recipes.md`."""
    ours = {name: fields_of(experiments.get(name)) for name in FILES}
    values = {field: [fields[field] for fields in ours.values() if field in fields] for field in OF_RECIPE}
    same = [field for field in OF_RECIPE if len(set(map(json.dumps, values[field]))) == 1]
    differing = [field for field in OF_RECIPE if field not in same]
    commits = ", ".join(f"{name}@{commit[:7]}" for name, commit in data()["commits"].items())
    parts = [
        "# Recipes beside the official ones",
        textwrap.fill(_INTRODUCTION.format(commits=commits, own=", ".join(f"`{name}`" for name in _own())), 120),
        "## The files",
        _table(["recipe", "official file"], [[f"`{name}`", f"`configs/{file}.yaml`"] for name, file in FILES.items()]),
        "## Equal in all recipes that have the field",
        _table(
            ["field", "value", "official key"],
            [[f"`{field}`", _shown(values[field][0]), _keys(field)] for field in same],
        ),
    ]
    for prefix, heading in _HEADINGS.items():
        fields = [field for field in differing if _heading(field) == heading]
        if fields:
            parts += [f"## {heading}, by recipe", _by_recipe(fields, prefix, ours), _legend(fields, prefix)]
    parts += [
        "## Fields without an official counterpart",
        _table(["field", "why"], [[f"`{field}`", why] for field, why in OURS_ALONE.items()]),
        "## Official keys without a field",
        _table(
            ["official key", "its value in every file", "with us"],
            [
                [f"`{key}`", " or ".join(_shown(value) for value in values), why]
                for key, (values, why) in BUILT_IN.items()
            ],
        ),
        _table(["official key", "with us"], [[f"`{key}`", why] for key, why in THE_USER_S.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def recipe_page(name: str) -> str:
    """Every field of one recipe: ours, the official value, its keys and the files that give them."""
    ours, official = fields_of(experiments.get(name)), recipe_of(name)
    rows = []
    for field, rule in OF_RECIPE.items():
        reader = Recipe(official.said)
        expected = rule(reader)
        sources = sorted({official.source(key) for key in reader.read})
        is_read = not isinstance(expected, NotRead)
        shown = _shown(expected) if is_read else f"no effect: {expected.reason}"
        keys = ", ".join(f"`{key}`" for key in sorted(reader.read))
        rows.append(
            [f"`{field}`", _shown(ours.get(field, "-")), shown, keys, ", ".join(f"`{source}`" for source in sources)]
        )
    return _table(["field", "ours", "official", "official key", "source"], rows) + "\n"


def _own() -> list[str]:
    return [name for name in experiments.names() if name not in FILES]


def _heading(field: str) -> str:
    return next(heading for prefix, heading in _HEADINGS.items() if field.startswith(prefix))


def _by_recipe(fields: list[str], prefix: str, ours: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, values in ours.items():
        official = recipe_of(name)
        has_effect = {field: not isinstance(OF_RECIPE[field](official), NotRead) for field in fields}
        rows.append([f"`{name}`", *(_shown(values[field]) if has_effect[field] else "-" for field in fields)])
    return _table(["recipe", *(f"`{field.removeprefix(prefix)}`" for field in fields)], rows)


def _legend(fields: list[str], prefix: str) -> str:
    return _table(["field", "official key"], [[f"`{field.removeprefix(prefix)}`", _keys(field)] for field in fields])


def _keys(field: str) -> str:
    """The official keys that the field's rule reads in any recipe."""
    keys: dict[str, None] = {}
    for name in FILES:
        recipe = recipe_of(name)
        OF_RECIPE[field](recipe)
        keys |= dict.fromkeys(sorted(recipe.read))
    return ", ".join(f"`{key}`" for key in keys)


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) > 4:
        return f"{value[0]}, {value[1]}, ... {value[-1]} ({len(value)})"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
