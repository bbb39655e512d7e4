"""Pages from templates: text from data is escaped, and a name that a template misspells is an error."""

from __future__ import annotations

import functools
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


@functools.cache  # Compiling a template takes longer than rendering it.
def templates_of(module_file: str) -> jinja2.Environment:
    """Returns the templates that lie beside a module, given its `__file__`."""
    import jinja2  # Takes longer than all else that a command's `--help` needs.

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(module_file).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
