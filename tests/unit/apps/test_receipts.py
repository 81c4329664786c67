"""Receipts: an answer is repeated, and one changed bit of anything is found."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlar
from tests.command_line import invoke
from tests.fixtures.models_1 import tiny
from vlar.apps import receipts

LABELS = "riding a bike, cooking"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A model, a recording and the receipt of an answer."""
    vlar.load(Path(tiny.__file__).parent / "ridge").save(tmp_path / "model")
    clip = tiny.clip(tmp_path / "clips", "fall", 5)
    clip.rename(tmp_path / "clip")
    done = answer(tmp_path, "--model", tmp_path / "model")
    assert done.exit_code == 0, done.output
    return tmp_path


def answer(place: Path, *options: object, verb: str = "classify") -> Any:
    words = [verb, place / "clip", *options, "--receipt", place / "r.json"]
    return invoke([str(word) for word in words])


def verdict(place: Path, *options: object) -> tuple[int, str]:
    done = invoke(["doctor", str(place / "r.json"), *map(str, options)])
    return done.exit_code, done.output.strip()


def read(place: Path) -> dict[str, Any]:
    return json.loads((place / "r.json").read_text("utf-8"))


def signed_again(place: Path, content: dict[str, Any]) -> None:
    """Write a receipt whose hashes fit what was changed in it."""
    hashes = {part: receipts._digest(content[part]) for part in receipts.PARTS}
    (place / "r.json").write_text(json.dumps({**content, "hashes": hashes}), "utf-8")


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_an_answer_is_repeated(place: Path):
    assert verdict(place) == (0, "equal")
    content = read(place)
    assert set(content["recording"]) == {str(place / "clip")}
    assert content["frames"][0]["times_s"]
    assert any(name.endswith(".safetensors") for name in content["weights"]["files"])
    assert content["labels"]["labels"] == list(tiny.LABELS)


def test_the_order_of_names_in_the_file_is_nothing(place: Path):
    content = read(place)
    (place / "r.json").write_text(json.dumps(dict(reversed(content.items()))), "utf-8")
    assert verdict(place)[0] == 0


def test_a_bit_of_a_recording_is_found(place: Path):
    flip(sorted((place / "clip").iterdir())[-1])
    code, text = verdict(place)
    assert (code, text.split()[0]) == (1, "recording")


def test_a_bit_of_a_weight_is_found(place: Path):
    for file in sorted((place / "model").glob("*.safetensors")):
        flip(file)
        code, text = verdict(place)
        assert (code, text.split()[0]) == (1, "weights")
        flip(file)
    assert verdict(place)[0] == 0


@pytest.mark.parametrize("part", receipts.PARTS)
def test_a_changed_part_is_named(place: Path, part: str):
    content = read(place)
    content[part] = [*content[part], "x"] if isinstance(content[part], list) else content[part]
    if isinstance(content[part], dict):
        content[part]["fingerprint" if part == "weights" else "x"] = "x"
    (place / "r.json").write_text(json.dumps(content), "utf-8")
    code, text = verdict(place)
    assert (code, text.split()[0]) == (1, part)


def test_every_digit_of_the_answer_counts_though_the_hashes_fit(place: Path):
    content = read(place)
    content["answer"][0]["predictions"][0]["probability"] += 1e-6
    signed_again(place, content)
    code, text = verdict(place)
    assert (code, text.split()[0]) == (1, "answer")


def test_another_machine_may_differ_within_the_bound(place: Path):
    original = read(place)
    for apart, code in ((receipts.BOUND / 2, 0), (receipts.BOUND * 2, 1)):
        content = json.loads(json.dumps(original))
        content["settings"]["machine"]["processor"] = "another"
        content["answer"][0]["predictions"][0]["probability"] += apart
        signed_again(place, content)
        result = verdict(place)
        assert result[0] == code
        assert result[1].startswith("answer" if code else f"within {receipts.BOUND:g}")


@pytest.mark.parametrize("part", ["frames", "labels"])
def test_what_is_read_is_compared_though_the_hashes_fit(place: Path, part: str):
    content = read(place)
    (content["frames"][0] if part == "frames" else content["labels"])["sha256"] = "0" * 64
    signed_again(place, content)
    assert verdict(place)[1].split()[0] == part


def test_a_bit_of_a_file_of_labels_is_found(tmp_path: Path):
    tiny.clip(tmp_path / "clips", "fall", 5).rename(tmp_path / "clip")
    labels = tmp_path / "labels.txt"
    labels.write_text("fall\nrise\n", "utf-8")
    done = answer(tmp_path, "--model", "tiny-for-fixtures", "--labels", labels)
    assert done.exit_code == 0, done.output
    assert verdict(tmp_path) == (0, "equal")
    labels.write_text("fall\nrisf\n", "utf-8")
    assert verdict(tmp_path)[1].split()[0] == "labels"


def test_all_is_looked_for_in_the_root(place: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(place / "clip", other / "deep" / "clip")
    code, text = verdict(place, "--root", other)
    assert code == 2
    assert "clip" in text
    shutil.move(other / "deep" / "clip", other / "clip")
    assert verdict(place, "--root", other)[0] == 2  # the model is not there
    shutil.copytree(place / "model", other / "model")
    assert "vlar models trust" in verdict(place, "--root", other)[1]
    assert invoke(["models", "trust", str(other / "model")]).exit_code == 0
    assert verdict(place, "--root", other) == (0, "equal")


def test_a_timeline_is_repeated(place: Path):
    done = answer(place, "--model", place / "model", "--every", "200ms", verb="timeline")
    assert done.exit_code == 0, done.output
    assert verdict(place) == (0, "equal")


def test_a_query_is_repeated_by_what_the_library_keeps(place: Path):
    library = str(place / "l.vlar")
    model = "tiny-for-fixtures"
    assert invoke(["index", "add", library, str(place / "clip"), "--model", model]).exit_code == 0
    words = ["query", library, "fall", "--min-probability", "0"]
    done = invoke([*words, "--receipt", str(place / "r.json")])
    assert done.exit_code == 0, done.output
    assert verdict(place) == (0, "equal")
    (digest,) = read(place)["recording"].values()
    assert len(digest) == 64
    flip(sorted((place / "clip").iterdir())[-1])
    assert verdict(place)[1].split()[0] == "recording"
    shutil.rmtree(place / "clip")  # the library keeps the hash and the vectors
    assert verdict(place) == (0, "equal")


def test_what_cannot_be_repeated_has_no_receipt(place: Path):
    (place / "r.json").unlink()
    done = answer(place, "--rerank", "self:lite", "--labels", LABELS)
    assert done.exit_code == 2
    assert "rerank" in done.output
    assert not (place / "r.json").exists()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_signature_is_verified(place: Path):
    key, signers = place / "key", place / "signers"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True)
    signers.write_text(f"me@lab {(place / 'key.pub').read_text()}", "utf-8")
    assert verdict(place, "--signers", signers)[0] == 2  # no signature
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "vlar", "-f", str(key), str(place / "r.json")]
    subprocess.run(sign, check=True, capture_output=True)
    assert verdict(place, "--signers", signers) == (0, "equal, signed by me@lab")
    with (place / "r.json").open("a") as file:
        file.write(" ")
    assert verdict(place, "--signers", signers)[1].split()[0] == "signature"


def changed(**parts: Any) -> Any:
    """Function that puts other values into a receipt; ``__`` stands between names."""

    def change(content: dict[str, Any]) -> None:
        for path, value in parts.items():
            *names, last = path.split("__")
            inner = content
            for name in names:
                inner = inner[name]
            inner[last] = value

    return change


HOSTILE = {
    "no-object": lambda content: content.clear(),
    "other-format": changed(format=2),
    "part-more": changed(run="rm"),
    "list-of-recordings": changed(recording=[1]),
    "recording-without-hash": changed(recording={"/etc/passwd": None}),
    "many-recordings": changed(recording={str(number): "0" for number in range(1001)}),
    "nul-in-path": changed(recording={"a\0b": "0"}),
    "files-no-object": changed(weights__files=3),
    "weights-of-numbers": changed(weights__files={"model/a": 1}),
    "verb": changed(settings__verb="serve"),
    "writes-a-table": changed(settings__options={"csv": "x.csv"}),
    "names-a-detector": changed(settings__options={"detector": "hf:/tmp"}),
    "option-no-text": changed(settings__options={"top": {"a": 1}}),
    "labels-of-a-file": changed(settings__options={"labels": __file__}),
    "bank-of-a-file": changed(settings__options={"labels": f"bank:{__file__}"}),
    "options-no-object": changed(settings__options=[1]),
    "hashes-no-object": changed(hashes=[1]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_receipt_is_refused_in_one_sentence(place: Path, name: str):
    content = read(place)
    HOSTILE[name](content)
    (place / "r.json").write_text(json.dumps(content), "utf-8")
    code, text = verdict(place)
    assert code == 2, text
    assert "unexpected" not in text
    assert len(text.splitlines()) == 1
    assert "is not a receipt" in text


@pytest.mark.parametrize("option", [{"top": "--help"}, {"top": True}, {"every": "1s"}, {"k": 3}])
def test_an_option_of_a_receipt_is_an_option_of_its_verb(place: Path, option: dict[str, Any]):
    content = read(place)
    content["settings"]["options"] |= option
    signed_again(place, content)
    code, text = verdict(place)
    assert code == 2
    assert len(text.splitlines()) == 1
    assert "unexpected" not in text


@pytest.mark.parametrize("content", [b"", b"{" * 10**5, b"\xff", b"[" * 50, b'{"a": 1e999}'])
def test_bytes_that_are_not_a_receipt(place: Path, content: bytes):
    (place / "r.json").write_bytes(content)
    code, text = verdict(place)
    assert code == 2
    assert len(text.splitlines()) == 1
    assert "unexpected" not in text


def test_a_huge_file_a_link_and_a_folder_are_refused(place: Path):
    (place / "r.json").rename(place / "real.json")
    (place / "r.json").symlink_to(place / "real.json")
    assert "link" in verdict(place)[1]
    (place / "r.json").unlink()
    with (place / "r.json").open("wb") as file:
        file.truncate(1 << 40)
    assert verdict(place)[0] == 2
    (place / "r.json").unlink()
    (place / "r.json").mkdir()
    assert verdict(place)[0] == 2


def test_a_hostile_receipt_reads_no_other_recording(place: Path, tmp_path: Path):
    """A private file that it names is compared with a hash, and never decoded or shown."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"private")
    content = read(place)
    content["recording"] = {str(secret): "0" * 64}
    signed_again(place, content)
    code, text = verdict(place)
    assert (code, text.split()[0]) == (1, "recording")
    assert "private" not in text
    assert verdict(place, "--root", place / "model")[0] == 2


def test_a_link_leads_nowhere_out_of_the_root(
    place: Path, tmp_path_factory: pytest.TempPathFactory
):
    other = tmp_path_factory.mktemp("other")
    (other / "clip").symlink_to(place / "clip")
    code, text = verdict(place, "--root", other)
    assert code == 2
    assert "not in" in text


def test_a_model_that_must_be_fetched_is_not(place: Path):
    content = read(place)
    content["settings"]["options"]["model"] = "hf-hub:stranger/model"
    content["weights"]["files"] = {}
    signed_again(place, content)
    code, text = verdict(place)
    assert code == 2
    assert len(text.splitlines()) == 1


def test_a_run_notes_clips_of_all_parts(place: Path):
    first = read(place)["frames"]
    assert [row["path"] for row in first] == [str(place / "clip")] * len(first)
    assert all(np.diff(row["times_s"]).min() >= 0 for row in first)
