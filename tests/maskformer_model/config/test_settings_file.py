"""Tests of `maskformer_model.config.settings_file`."""

import pytest

from maskformer_model.config.settings_file import read_settings


def refusal(tmp_path, content: bytes) -> str:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as refused:
        read_settings(path, "--config_file")
    message = str(refused.value)
    assert message.startswith("`--config_file` must") and str(path) in message and "\n" not in message
    return message


def test_keys_and_values_are_read_and_an_empty_file_has_none(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("trainer: {train_steps: 7}\n")
    assert read_settings(path, "--config_file") == {"trainer": {"train_steps": 7}}
    path.write_text("# nothing\n")
    assert read_settings(path, "--config_file") == {}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"- a\n- b\n", "type list"),
        (b"just words", "type str"),
        (b"7", "type int"),
        (b"1: a", "type dict"),
        (b"trainer: [1, 2", "while parsing"),
        (b"a: \xff\xfe", "utf-8"),
        (b"[" * 5000, "recursion"),
        (b"a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        (b"a: 2024-99-99", "month must be in 1..12"),
        (b"a" * (2**20 + 1), "a larger one"),
    ],
)
def test_what_holds_no_settings_is_refused_in_one_line(tmp_path, content, found):
    assert found in refusal(tmp_path, content)


def test_a_missing_file_and_a_folder_are_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_settings(tmp_path / "none.yaml", "--config_file")
    with pytest.raises(IsADirectoryError):
        read_settings(tmp_path, "--config_file")
