"""Tests of `components.html_pages`."""

import jinja2
import pytest

from components.html_pages import templates_of


def test_a_template_beside_a_module_escapes_text_and_refuses_an_unknown_name(tmp_path):
    (tmp_path / "page.html.j2").write_text("{% if name %}\n<b>{{ name }}</b>\n{% endif %}\n")
    template = templates_of(str(tmp_path / "page.py")).get_template("page.html.j2")
    assert template.render(name="<cat>") == "<b>&lt;cat&gt;</b>\n"
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        template.render()
