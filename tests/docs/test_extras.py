"""A page whose commands or snippets need an extra names it."""

from __future__ import annotations

import re

import pytest

from tests.docs import pages

#: What a block holds where it needs an extra; either of several will do.
NEEDS = {
    ("tables",): r"\.parquet\b|to_arrow|to_pandas",
    ("milvus",): r"milvus:",
    ("ray",): r"--runner ray",
    ("serve",): r"vlar (serve|mcp) ",
    ("eval",): r"--timeline \S+\.png|--tree text|--who ",
    ("otio",): r"\.otio\b",
    ("ocr",): r"--captions screen-text",
    ("mteb",): r"import mteb",
    ("remote",): r"(s3|gs)://",
    (
        "clip",
        "train",
    ): r"--method (lora|temporal|tc-clip|ez-clip|c2c|plar|msq|refer)\b|openclip:|vlar train ",
    ("export",): r"vlar export ",
    ("pose",): r"\.(h5|slp)\b",
}
BLOCKS = [block for block in pages.all_blocks() if block.language in ("bash", "python")]


def names_one(text: str, extras: tuple[str, ...]) -> bool:
    """Whether a page has the name of an extra, as ``vlar[NAME]`` or as the extra `NAME`."""
    one = "|".join(extras)
    named = rf"\[[^\]\n]*\b({one})\b[^\]\n]*\]|extras? [^.\n]*`({one})`|^\| `({one})` \|"
    return re.search(named, text, re.M) is not None


@pytest.mark.parametrize("extras", NEEDS, ids="-".join)
def test_a_page_names_the_extra_that_its_lines_need(extras: tuple[str, ...]):
    needing = {b.page for b in BLOCKS if re.search(NEEDS[extras], b.text)}
    lacking = [page for page in needing if not names_one((pages.ROOT / page).read_text(), extras)]
    assert sorted(lacking) == []


def test_a_page_without_the_name_is_found():
    assert names_one("pip install 'vlar[clip,serve]'", ("serve",))
    assert names_one("It needs the extra `clip`.", ("clip", "train"))
    assert not names_one("`vlar serve` shows a page.", ("serve",))
