from __future__ import annotations

import pytest

from vlar.apps.cli.verb import install_advice


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("av.container", "pip install av"),
        ("faiss", "pip install faiss-cpu"),
        ("skvideo", "pip install 'vlar[demo]'"),
        ("matplotlib", "pip install 'vlar[eval]'"),
        ("some_reader", "pip install some-reader"),
    ],
)
def test_the_advice_is_a_command(module: str, command: str):
    advice = install_advice(ModuleNotFoundError("no module", name=module))
    assert advice is not None
    assert advice.endswith(f"run: {command}")


def test_a_missing_part_of_vlar_is_not_the_users_to_install():
    assert install_advice(ModuleNotFoundError("no module", name="vlar.nowhere")) is None
