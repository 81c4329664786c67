from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UnknownNameError, UsageError
from vlar.language.prompts import fill, load_templates


def test_the_packaged_sets_load():
    assert load_templates("plain") == ("{}",)
    for name in ("video", "person"):
        templates = load_templates(name)
        assert len(templates) == len(set(templates)) >= 4
        assert all(t.count("{}") == 1 for t in templates)


def test_an_unknown_set_names_the_known_ones():
    refused(UnknownNameError, "plain", load_templates, "plane")


def test_a_file_of_templates(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbf# comment\r\na cook {}\r\n\r\n{} at work\r\n")
    assert load_templates(path) == load_templates(str(path)) == ("a cook {}", "{} at work")


@pytest.mark.parametrize("line", ["a video", "{} and {}", "{label}", "{} {x}", "{}}"])
def test_a_line_that_is_no_template(tmp_path, line: str):
    path = tmp_path / "mine.txt"
    path.write_text(f"{{}}\n{line}\n")
    refused(UsageError, "line 2", load_templates, path)


def test_files_that_cannot_be_used(tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    refused(UsageError, "holds no template", load_templates, empty)
    refused(UsageError, "cannot be read", load_templates, tmp_path / "missing.txt")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\xfd")
    refused(UsageError, "UTF-8", load_templates, binary)


@given(st.lists(st.text(max_size=20), max_size=5))
def test_fill_keeps_texts_and_order(texts: list[str]):
    filled = fill(["{}", "a video of {}."], texts)
    assert filled == [[text, f"a video of {text}."] for text in texts]


def test_fill_refuses_what_is_no_template():
    refused(UsageError, "list of templates is empty", fill, [], ["run"])
    refused(UsageError, "exactly one", fill, ["a video"], ["run"])
