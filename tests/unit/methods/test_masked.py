"""Masked pre-training of VideoMAE V2 on unlabelled clips: a recipe, from files to a probe."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

import vlar  # noqa: E402
from tests.command_line import invoke  # noqa: E402
from tests.videos import make_video  # noqa: E402
from vlar.methods import released  # noqa: E402
from vlar.methods.released.masked import pretraining_of  # noqa: E402

SIZES = {
    "img_size": 32, "patch_size": 8, "tubelet_size": 2, "all_frames": 8, "embed_dim": 32,
    "depth": 2, "num_heads": 4, "mlp_ratio": 2.0, "num_classes": 0, "norm_eps": 1e-6,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("masked")
    torch.manual_seed(0)
    path = folder / "tiny.safetensors"
    save_file(released.build("videomae_v2", SIZES).state_dict(), path)
    Path(f"{path}.json").write_text(json.dumps({"config": SIZES}))
    for number in range(8):
        colour = np.random.default_rng(number).integers(0, 256, 3)

        def bar(i: int, n: int = number, c: Any = colour) -> np.ndarray:
            picture = np.full((32, 32, 3), c // 2, np.uint8)
            at = (3 * i + 5 * n) % 24 if n % 2 else 24 - (3 * i + 5 * n) % 24
            picture[:, at : at + 8] = c
            return picture

        label = folder / "clips" / ("right" if number % 2 else "left")
        label.mkdir(parents=True, exist_ok=True)
        make_video(label / f"{number}.mp4", 8, fps=8, picture=bar)
    (folder / "clips" / "left" / "broken.mp4").write_text("no video")
    return path


@pytest.mark.slow
def test_a_network_learns_from_unlabelled_clips_and_is_probed(tiny: Path):
    home = tiny.parent
    words = ["adapt", "--unlabelled", str(home / "clips"), "--model", f"videomae-v2:{tiny}"]
    words += ["--method", "masked-video", "--out", str(home / "mine")]
    for pair in ("epochs=30", "batch=4", "learning_rate=0.003", "warmup_epochs=1"):
        words += ["--set", pair]
    done = invoke(words)
    assert done.exit_code == 1, done.output  # one clip is broken
    assert "broken.mp4" in done.output
    told = re.search(r"hidden patches went from ([\d.]+) to ([\d.]+)", done.output)
    assert told, done.output
    assert float(told[2]) < 0.9 * float(told[1])
    (home / "clips" / "left" / "broken.mp4").unlink()
    probe = ["adapt", str(home / "clips"), "--model", str(home / "mine"), "--out"]
    done = invoke([*probe, str(home / "probe")])
    assert done.exit_code == 0, done.output
    answer = vlar.load(home / "probe").classify(home / "clips" / "left" / "0.mp4")
    assert {row.label for row in answer.predictions} == {"left", "right"}


def test_the_tower_is_shared_and_the_decoder_has_the_sizes_of_the_study():
    tower: Any = released.build("videomae_v2", {**SIZES, "embed_dim": 96, "num_heads": 12})
    whole = pretraining_of(tower)
    assert whole.encoder.blocks is tower.blocks
    assert whole.decoder.head.weight.shape == (3 * 2 * 8**2, 48)
    with torch.device("meta"):
        base = pretraining_of(released.build("videomae_v2"))
    count = sum(value.numel() for value in base.parameters())
    assert count == 94_210_944  # of the published base network


def test_other_networks_and_labels_are_refused(tiny: Path):
    for words, says in (
        (["--model", "lite", "--method", "temporal", "--learner", "masked"], "VideoMAE V2 alone"),
        (["--model", f"videomae-v2:{tiny}", "--method", "masked-video", str(tiny.parent / "clips")],
         "--unlabelled clips alone"),
    ):  # fmt: skip
        free = ["--unlabelled", str(tiny.parent / "clips")]
        done = invoke(["adapt", *words, *free, "--out", str(tiny.parent / "bad")])
        assert done.exit_code == 2, done.output
        assert says in done.output
