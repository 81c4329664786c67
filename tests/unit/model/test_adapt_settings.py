"""Settings, learners and presets of a method reach it from Python and from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vlar
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from vlar import registry
from vlar.apps.cli.adapt import read_settings
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.model.requests import AdaptRequest
from vlar.training.hyperparameters import NUMBERS, adapter_settings, default_recipe

SHORT = {"epochs": 2, "warmup_epochs": 0, "width": 16, "heads": 2, "components": 4}


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.support(tmp_path_factory.mktemp("support") / "a", 2)


@pytest.fixture(scope="module")
def base() -> vlar.Model:
    return vlar.load("tiny-for-fixtures")


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds presets, and forgets them after the test."""
    monkeypatch.setattr(registry, "_added", dict(registry._added))
    monkeypatch.setitem(registry.loaded, "adapter", registry.parts("adapter"))

    def add(text: str) -> list[registry.Preset]:
        file = tmp_path / "presets.toml"
        file.write_text(text)
        return registry.add_presets(file)

    return add


def test_settings_reach_the_adapter_and_its_recipe(base: vlar.Model, support: Path):
    model = base.adapt(support, method="temporal", settings=SHORT)
    assert model.encoder.settings["width"] == 16
    assert model.report.training is not None
    assert model.report.training.steps == 2
    # The same in one object.
    again = base.learn(AdaptRequest(source=support, method="temporal", settings=SHORT))
    assert again.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"widht": 8}, UnknownNameError, "temporal.*did you mean 'width'"),
        (
            {"epochs": 0},
            UsageError,
            "'temporal': setting 'epochs' is 0: .*write --set epochs=",
        ),
        ({"width": "x"}, ModelError, "width is 'x'"),
        ({"average": "mean"}, UsageError, "setting 'average' is 'mean'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    base: vlar.Model, support: Path, settings: dict[str, Any], error: type, says: str
):
    refused(error, says, base.adapt, support, method="temporal", settings=settings)


def test_a_closed_form_has_neither_settings_nor_a_learner(base: vlar.Model, support: Path):
    with pytest.raises(UsageError, match=r"'auto' is a closed form.*\('people' is given\)"):
        base.adapt(support, settings={"people": 2})
    with pytest.raises(UsageError, match=r"'ridge' is a closed form.*\('trained' is given\)"):
        base.adapt(support, method="ridge", learner="trained")


def test_a_learner_is_named_in_place_of_the_adapters_own(base: vlar.Model, support: Path):
    with pytest.raises(UnknownNameError, match="no learner is called 'slovd'"):
        base.adapt(support, method="temporal", learner="slovd")
    with pytest.raises(UsageError, match="is not trained by episodes"):
        base.adapt(support, method="temporal", learner="episodic")
    with pytest.raises(UsageError, match="nothing to learn from"):
        base.adapt(None, method="temporal", learner="trained")


def is_unknown(part: Any, setting: str) -> bool:
    try:
        part.check_settings({setting: object()})
    except UnknownNameError:
        return True
    except ModelError:
        return False
    return "check_settings" not in vars(part)  # it has no settings at all


def test_no_adapter_has_a_setting_of_the_name_of_a_hyperparameter():
    trained = ("trained", "compositional")  # they take the hyperparameters out of the settings
    for name, part in registry.parts("adapter").items():
        known = [each for each in NUMBERS if not is_unknown(part, each)]
        assert part.learner not in trained or not known, name


def test_settings_of_the_command_line_are_values_of_toml():
    given = ["people=2", "text = own", "blocks=['look', 'flow']", "keep=true", "rate=1e-3"]
    wanted = {"people": 2, "text": "own", "blocks": ["look", "flow"], "keep": True, "rate": 0.001}
    assert read_settings(given) == wanted
    for wrong in (["people"], ["=2"], ["a=1", "a=2"]):
        refused(UsageError, "--set", read_settings, wrong)


def test_presets_are_methods_that_share_a_recipe(
    presets: Any, base: vlar.Model, support: Path, tmp_path: Path
):
    presets(
        "[adapter.small-in-test]\nof = 'temporal'\nsettings = { width = 16, heads = 2 }\n"
        "[adapter.smaller-in-test]\nof = 'small-in-test'\nrecipe = 'c2c'\n"
        "settings = { components = 4 }\n"
    )
    assert {"small-in-test", "smaller-in-test"} <= set(registry.names("adapter"))
    assert default_recipe("small-in-test") == "temporal/adapt"
    assert default_recipe("smaller-in-test") == "c2c/adapt"
    settings = adapter_settings("c2c/adapt", "smaller-in-test", {"heads": 1})
    assert settings == {"width": 16, "heads": 1, "components": 4}
    model = base.adapt(support, method="smaller-in-test", settings={"epochs": 2})
    assert model.encoder.name == "smaller-in-test"
    again = vlar.load(model.save(tmp_path / "m"))
    assert again.fingerprint == model.fingerprint
    assert again.encoder.settings["components"] == 4
    with pytest.raises(UnknownNameError, match="did you mean 'width'"):
        registry.get("adapter", "small-in-test").check_settings({"widht": 1})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[adapter.x", "cannot be read as TOML"),
        ("[adapter.x]\nwidth = 2", "is not a preset"),
        ("[adapter.X]\nof = 'temporal'", "is not a preset"),
        ("adapter = 3", "is not a preset"),
        ("[adaptr.x]\nof = 'temporal'", "no kind of part is called 'adaptr'"),
        ("[adapter.x]\nof = 'temporl'", "did you mean 'temporal'"),
        ("[adapter.x]\nof = 'temporal'\nwidth = 2", "has the key 'width'"),
        ("[adapter.x]\nof = 'y'\n[adapter.y]\nof = 'x'", "is made of itself"),
        ("[reader.x]\nof = 'imu'", "reader 'imu' takes no presets"),
    ],
)
def test_presets_that_cannot_be_used_are_named(presets: Any, text: str, says: str):
    with pytest.raises(UsageError, match=says):  # noqa: PT012 - when it is read, or looked up
        for preset in presets(text):
            registry.get(preset.kind, preset.name)


def test_a_preset_does_not_take_a_name_that_is_there(presets: Any):
    refused(ValueError, "'lora' is already registered", presets, "[adapter.lora]\nof = 'temporal'")
    same = "[adapter.once-in-test]\nof = 'temporal'"
    assert presets(same) == presets(same)


def test_presets_next_to_a_part_are_found_in_its_folder(tmp_path: Path, monkeypatch: Any):
    (tmp_path / "methods" / "tower").mkdir(parents=True)
    presets = tmp_path / "methods" / "tower" / "presets.toml"
    presets.write_text("[adapter.one-in-test]\nof = 'temporal'")
    monkeypatch.setattr(registry, "_ROOT", tmp_path)
    found = registry._found.__wrapped__("vlar.methods", "adapter")
    assert list(found) == ["one-in-test"]
    assert registry._found.__wrapped__("vlar.methods", "reader") == {}
