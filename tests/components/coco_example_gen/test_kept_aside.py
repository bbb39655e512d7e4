"""The reasons of skipped records and the findings have the same words in the code and in the document."""

import re

from components.coco_example_gen import kept_aside


def test_the_document_has_the_modules_tables_word_for_word(project_dir):
    text = (project_dir / "docs" / "ingest.md").read_text("utf-8")
    section = text[text.index("## Skipped records") : text.index("One schema says what every field may hold")]
    documented = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, flags=re.MULTILINE)
    stated = re.findall(r"^\| (\w+) +\| (.*?) +\|$", kept_aside.__doc__, flags=re.MULTILINE)
    assert [row for row in stated if row[0] not in ("reason", "notice")] == documented
    assert len(documented) == 42
