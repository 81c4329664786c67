"""The file of ``vlar train``: every message names the key, the value, the nearest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.refusals import refused
from vlar import registry
from vlar.errors import UnknownNameError, UsageError
from vlar.training.config import read_config
from vlar.training.hyperparameters import General

GOOD = 'method = "temporal"\ntrain = "clips"\nout = "mine"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "train.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_recipe_and_what_replaces_it(tmp_path: Path):
    text = GOOD + 'recipe = "tc-clip/few-shot"\n[training]\nepochs = 7\nbetas = [0.9, 0.95]\n'
    config = read_config(written(tmp_path, text))
    assert config.train == tmp_path / "clips"
    plan = config.numbers
    assert (plan.epochs, plan.betas, plan.batch) == (7, (0.9, 0.95), 64)
    assert plan.groups.__name__ == "parameter_groups"
    assert read_config(written(tmp_path, GOOD)).recipe_name == "temporal/adapt"


def test_a_batch_below_the_micro_batch_of_a_recipe_is_taken_at_once(tmp_path: Path):
    text = GOOD + 'recipe = "tc-clip/few-shot"\n[training]\nbatch = 3\n'
    plan = read_config(written(tmp_path, text)).numbers
    assert (plan.batch, plan.micro_batch) == (3, 4)


def test_a_recipe_of_the_method_brings_settings_of_the_adapter(tmp_path: Path):
    ez = GOOD.replace("temporal", "ez-clip") + 'recipe = "ez-clip/zero-shot"\n'
    drops = {"prompt_dropout": 0.1, "drop": 0.1}
    assert read_config(written(tmp_path, ez)).adapter_settings == drops
    given = read_config(written(tmp_path, ez + "[adapter]\ndrop = 0.0\nn_frames = 4\n"))
    assert given.adapter_settings == {"prompt_dropout": 0.1, "drop": 0.0, "n_frames": 4}
    other = ez.replace('method = "ez-clip"', 'method = "lora"')
    assert read_config(written(tmp_path, other)).adapter_settings == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('train = "c"\nout = "m"\n', "key 'method' is missing"),
        (GOOD + "sed = 3\n", "'sed'; did you mean 'seed'"),
        (GOOD + "seed = -1\n", "key 'seed' is -1"),
        (GOOD + "[training]\nlearnin_rate = 1\n", "did you mean 'learning_rate'"),
        (GOOD + '[training]\nlearning_rate = "fast"\n', "'training.learning_rate' is 'fast'"),
        (GOOD + "[training]\nepochs = 0\n", "key 'training.epochs' is 0"),
        (GOOD + "[training]\nlabel_smoothing = 1.5\n", "'training.label_smoothing' is 1.5"),
        (GOOD + '[training]\nprecision = "fp8"\n', "'training.precision' is 'fp8'"),
        (GOOD + "[training]\nbatch = 10\nmicro_batch = 4\n", "not a multiple of micro_batch 4"),
        (GOOD + "[training]\ngroups = 1\n", "'groups'"),
        (GOOD + 'unknown = "knm"\n', "did you mean 'knn'"),
        (GOOD + 'unknown = "edl"\n', "holds none out"),
        (GOOD + 'balance = "adjusted"\n', "did you mean 'adjust'"),
        (GOOD + 'recipe = "tc-clip/zeroshot"\n', "did you mean 'tc-clip/zero-shot'"),
        (GOOD.replace("temporal", "temporl"), "did you mean 'temporal'"),
        ("method = \n", "not readable as TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str):
    error = refused(UsageError, "", read_config, written(tmp_path, text))
    assert told in error.value.message


def test_a_file_that_is_not_there(tmp_path: Path):
    refused(UsageError, "cannot be read", read_config, tmp_path / "none.toml")
    assert issubclass(UnknownNameError, UsageError)


def test_a_tree_is_a_file_next_to_the_configuration_or_made(tmp_path: Path):
    trees = {"tree.json": str(tmp_path / "tree.json"), "text": "text", "bank:ucf101": "bank:ucf101"}
    for given, found in trees.items():
        assert read_config(written(tmp_path, f'{GOOD}tree = "{given}"\n')).tree == found


@pytest.mark.parametrize("row", [{"epoks": 3}, {"epochs": 0}, 4])
def test_a_recipe_is_a_table_whose_names_and_values_are_checked(row: object):
    preset = registry.Preset("recipe", "toy", "general", {"adapt": row}, Path("presets.toml"))
    with pytest.raises(UsageError, match=r"presets.toml: recipe 'toy'"):
        General.preset(preset)
    good = replace(preset, values={"adapt": {"epochs": 3}})
    assert General.preset(good)()["adapt"].epochs == 3
