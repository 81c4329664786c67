"""``vlar skill``: a file that teaches an agent the verbs."""

from __future__ import annotations

from importlib import resources

from vlar.apps.cli import output


def command() -> int:
    """Print a skill file for agents: which verb answers which wish.

    Write it where an agent looks for skills: vlar skill > SKILL.md

    Examples:
        vlar skill
        vlar skill --quiet
    """
    output.block(resources.files("vlar.apps.cli").joinpath("skill.md").read_text("utf-8").rstrip())
    return 0
