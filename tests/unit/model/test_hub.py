"""Models go to the hub and come back the same; what a hub could do to them is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

import vlar
from tests.command_line import invoke
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from tests.unit.encoders.hub_stand_in import COMMIT, Hub, used
from vlar.encoders.download import network_errors
from vlar.encoders.hub_folder import HubFolder
from vlar.encoders.model_spec import ModelSpec
from vlar.errors import ModelError, UsageError
from vlar.library.model_provider import lasting_name
from vlar.model.hub import hub_name, readme

NAME = "hf-hub:me/forklifts"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Hub]:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "repository").mkdir()
    with used(tmp_path / "repository", tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def model() -> vlar.Model:
    return vlar.load(Path(tiny.__file__).parent / "ridge")


def test_a_model_goes_to_the_hub_and_comes_back_the_same(hub: Hub, model, tmp_path: Path):
    address = model.push_to_hub("me/forklifts", private=True, commit_message="first")
    assert address.endswith(COMMIT)
    names = {path.name for path in hub.folder.iterdir()}
    assert {"vlar.json", "adaptation.safetensors", "card.md", "README.md"} <= names
    card = (hub.folder / "README.md").read_text("utf-8")
    assert card.startswith("---\n")
    assert "library_name: vlar" in card
    assert card.endswith((hub.folder / "card.md").read_text("utf-8"))
    (hub.folder / "model.py").write_text("raise SystemExit")
    (hub.folder / "weights.bin").write_bytes(b"a pickle")
    back = vlar.load(NAME)
    clips = tiny.queries(tmp_path / "queries")
    assert [a.to_dict()["predictions"] for a in back.classify(clips)] == [
        a.to_dict()["predictions"] for a in model.classify(clips)
    ]
    assert not {"model.py", "weights.bin"} & {path.name for path in Path(tmp_path).rglob("cache/*")}
    hub.asked.clear()
    assert vlar.Model.from_pretrained("me/forklifts").labels == model.labels
    assert hub.asked == []  # once is enough
    assert lasting_name(ModelSpec.parse(NAME)) == NAME


def test_the_command_line_fetches_by_revision_and_shows_the_card(hub: Hub, model):
    model.push_to_hub("me/forklifts")
    spec = f"{NAME}@{COMMIT}"
    assert f"fetch it: vlar models get {spec}" in invoke(["models", spec, "--card"]).output
    answer = invoke(["models", "get", spec])
    assert answer.exit_code == 0, answer.output
    assert COMMIT in answer.output
    assert invoke(["models", spec, "--card"]).output.startswith("# forklifts")
    assert ModelSpec.parse(spec).folder == HubFolder.parse(spec).path()


def test_what_does_not_fit_its_hash_or_its_commit_is_refused(hub: Hub, model):
    model.push_to_hub("me/forklifts")
    hub.wrong_hash = "adaptation.safetensors"
    refused(ModelError, "another hash", vlar.load, NAME)
    hub.wrong_hash = ""
    refused(ModelError, "for the one asked", vlar.load, f"{NAME}@{'2' * 40}")
    manifest = json.loads((hub.folder / "vlar.json").read_text())
    manifest["files_sha256"]["adaptation.safetensors"] = "0" * 64
    (hub.folder / "vlar.json").write_text(json.dumps(manifest))
    hub.commit = "3" * 40
    refused(ModelError, "checksum differs", vlar.load, NAME)
    (hub.folder / "vlar.json").unlink()
    shutil.rmtree(HubFolder.parse(NAME).root)
    refused(ModelError, "holds no vlar.json", vlar.load, NAME)
    hub.status = 403
    refused(ModelError, "was not uploaded", model.push_to_hub, "me/forklifts")


def test_an_upload_without_a_network_is_one_sentence(
    hub: Hub, model: vlar.Model, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import HfApi

    unreachable = network_errors()[-1]

    def refuse(*_: object, **__: object) -> None:
        raise unreachable("[Errno -2] Name or service not known")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    text = r"was not uploaded \(the hub cannot be reached: .*\); try again with a network"
    with pytest.raises(ModelError, match=text):
        model.push_to_hub("me/forklifts")


def test_metrics_stand_in_the_model_index():
    from tests.unit.model.test_card import MANIFEST_NOW

    text = readme(MANIFEST_NOW, "# mine\n\ntext\n", "video")
    for line in (
        "license: apache-2.0", "pipeline_tag: video-classification", "model-index:",
        "value: 0.8889", "type: accuracy", "- name: mine",
    ):  # fmt: skip
        assert line in text
    other = {**MANIFEST_NOW, "report": None, "encoder": {**MANIFEST_NOW["encoder"], "licence": "X"}}
    assert "model-index" not in readme(other, "# mine\n", "skeleton")
    assert "license_name: X" in readme(other, "# mine\n", "skeleton")


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model):
    assert hub_name("lite") == "lite"
    assert hub_name("hf-hub:me/x", "v1") == "hf-hub:me/x@v1"
    refused(UsageError, "is not hf-hub", vlar.load, "hf-hub:../x")
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    refused(ModelError, "HF_HUB_OFFLINE is set", vlar.load, NAME)
    folder = model.save_pretrained(tmp_path / "mine")
    assert vlar.Model.from_pretrained(str(folder)).labels == model.labels
