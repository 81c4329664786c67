"""Published networks of videos and several sensors equal their originals, and read their files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

import vlar  # noqa: E402
from tests.refusals import refused  # noqa: E402
from tests.unit.methods import published  # noqa: E402
from vlar.errors import UsageError  # noqa: E402
from vlar.methods import released  # noqa: E402
from vlar.methods.released.video_mae import running_cells, tube_mask  # noqa: E402

SMALL = ("videomae_v2", "videomae_v2_pretrain", "videomae_v1_transformers", "dear", "stprivacy")
FEW = ("trx", "hyrsm_1shot", "hyrsm_5shot", "gsf_bninception")
NAMES = [
    name if name in SMALL + FEW else pytest.param(name, marks=pytest.mark.slow)
    for name in released.FULL
]


def close(ours: Any, theirs: Any, margin: float = 1e-5) -> None:
    """The largest difference is at most ``margin`` of the largest value, or of 1."""
    scale = max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(ours, theirs, atol=margin * scale, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_equal_the_original(name: str, tmp_path: Path):
    facts, tensors = published.read(name)
    network = released.load(name, published.write(name, tmp_path))
    assert not network.training
    logits = network(**published.inputs(name))
    close(logits.detach(), tensors.get("out/logits", tensors.get("out/prediction")))
    if not facts["loss_is"].startswith("mean cross-entropy of logits"):
        return
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(facts["labels"]))
    loss.backward()
    assert loss.item() == pytest.approx(facts["loss"], rel=2e-6, abs=1e-5)
    parameters = dict(network.named_parameters())
    for key, norm in facts["grad_norms"].items():
        gradient = parameters[key].grad
        assert gradient is not None, key
        margin = 5e-3 * norm + 1e-4 * facts["largest_grad_norm"]
        assert gradient.norm().item() == pytest.approx(norm, rel=0, abs=margin), key


FULL = json.loads((published.GOLDEN / "videos_full.json").read_text("utf-8"))


#: Networks that share a list of names; of ``dear`` the body of the file is another network.
LISTED = {"ar_net_skip": "ar_net", "hyrsm_1shot": "hyrsm", "hyrsm_5shot": "hyrsm"}


@pytest.mark.parametrize("name", [name for name in released.FULL if name != "dear"])
def test_a_full_network_has_the_names_and_sizes_of_the_released_file(name: str):
    facts = FULL[LISTED.get(name, name)]
    with torch.device("meta"):
        built = released.build(name)
    rows = {k: v for k, v in built.state_dict().items() if not k.endswith("num_batches_tracked")}
    lines = [f"{k} {list(v.shape)}" if facts["shapes"] else k for k, v in sorted(rows.items())]
    assert sum(p.numel() for p in built.parameters()) == facts["parameters"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == facts["sha256"]


@pytest.mark.parametrize(("name", "key"), [
    ("videomae_v2", "fc_norm.weight"), ("videomae_v1_transformers", "fc_norm.bias"),
    ("dear", "cls_head.fc_cls.bias"), ("stprivacy", "sparsifier.head_recon.bias"),
    ("trx", "transformers.1.norm_k.bias"), ("hyrsm_1shot", "layer2.0.bias"),
])  # fmt: skip
def test_a_changed_tensor_changes_the_logits_and_a_lost_one_is_named(
    name: str, key: str, tmp_path: Path
):
    state, inputs = published.weights(name), published.inputs(name)
    before = published.read(name)[1]["out/logits"]
    changed = state | {key: state[key] + torch.linspace(0.1, 0.5, len(state[key]))}
    with torch.no_grad():
        logits = released.load(name, published.write(name, tmp_path, changed))(**inputs)
    assert float((logits - before).abs().max()) > 1e-3
    path = published.write(name, tmp_path, {k: v for k, v in state.items() if k != key})
    caught = refused(UsageError, f"1 missing .{key}", released.load, name, path)
    assert "0 left over" in caught.value.message
    path = published.write(name, tmp_path, state | {key: torch.zeros(2, 2)})
    refused(UsageError, "2, 2", released.load, name, path)


def test_an_unknown_name_is_refused(tmp_path: Path):
    refused(UsageError, "no released network 'r2d2'", released.load, "r2d2", tmp_path / "x.pt")


def test_videomae_drops_the_names_of_wrappers_and_reads_old_ones(tmp_path: Path):
    state = {f"_orig_mod.backbone.{k}": v for k, v in published.weights("videomae_v2").items()}
    network = released.load("videomae_v2", published.write("videomae_v2", tmp_path, state))
    with torch.no_grad():
        close(
            network(**published.inputs("videomae_v2")),
            published.read("videomae_v2")[1]["out/logits"],
        )
    name = "videomae_v1_transformers"
    old = {
        k.replace("attention.query.bias", "attention.q_bias").replace(
            "attention.value.bias", "attention.v_bias"
        ): v
        for k, v in published.weights(name).items()
    }
    network = released.load(name, published.write(name, tmp_path, old))
    with torch.no_grad():
        close(network(**published.inputs(name)), published.read(name)[1]["out/logits"])


def test_videomae_takes_clips_of_another_size(tmp_path: Path):
    network: Any = released.load("videomae_v2", published.write("videomae_v2", tmp_path))
    torch.testing.assert_close(network.positions(4, 3, 3), network.table)
    assert network(torch.zeros(1, 3, 16, 64, 32)).shape == (1, 7)


def test_videomae_pretraining_masks_and_loss(tmp_path: Path):
    name = "videomae_v2_pretrain"
    facts, tensors = published.read(name)
    network: Any = released.load(name, published.write(name, tmp_path))
    inputs = published.inputs(name)
    loss = network.loss(**inputs)
    assert loss.item() == pytest.approx(facts["loss"], rel=1e-5)
    loss.backward()
    asked = ~inputs["decoder_mask"]
    target = network.targets(inputs["video"])[asked].view_as(tensors["act/target"])
    close(target, tensors["act/target"])
    cells = torch.stack([running_cells(variant, 4, 4) for variant in range(4)])
    assert torch.equal(cells.float(), tensors["act/running_cell_maps"].float())
    mask = tube_mask(3, 4, 16, 0.9, torch.Generator().manual_seed(0)).view(3, 4, 16)
    assert (mask.sum(2) == 14).all()
    assert (mask == mask[:, :1]).all()


def test_dear_has_every_loss_of_the_original(tmp_path: Path):
    facts, tensors = published.read("dear")
    network: Any = released.load("dear", published.write("dear", tmp_path))
    features, labels = published.inputs("dear")["features"], torch.tensor(facts["labels"])
    config = facts["config"]
    order = torch.tensor(config["shuffle"])
    progress = config["epoch"] / config["total_epoch"]
    losses = network.losses(features, labels, progress, order)
    for key, value in losses.items():
        stored = float(tensors[f"out/{key}"].mean())
        assert value.item() == pytest.approx(stored, abs=1e-5), key
    assert sum(losses.values()).item() == pytest.approx(facts["loss"], abs=1e-5)
    close(network.uncertainty(network(features)).detach(), tensors["out/uncertainty"])


def test_stprivacy_has_both_forms(tmp_path: Path):
    facts, tensors = published.read("stprivacy")
    network: Any = released.load("stprivacy", published.write("stprivacy", tmp_path))
    video = published.inputs("stprivacy")["video"]
    painted, kept = network.sparsifier(video)
    assert torch.equal(kept, tensors["out/kept"].float())
    close(network.attributes(video).detach(), tensors["out/privacy_logits"])
    logits, left, stages = network.training_form(video)
    assert torch.equal(left.detach().round(), tensors["out/train_kept"].float())
    close(logits.detach(), tensors["out/train_logits"])
    shares = torch.stack([stage.mean() for stage in stages]).detach()
    close(shares, tensors["out/train_shares"])
    cross = torch.nn.functional.cross_entropy
    labels = torch.tensor(facts["labels"])
    loss = cross(network.action(painted, kept), labels) + cross(logits, labels)
    assert loss.item() == pytest.approx(facts["loss"], abs=1e-5)
    loss.backward()
    for key, norm in facts["grad_norms"].items():
        gradient = dict(network.named_parameters())[key].grad
        size = 0.0 if gradient is None else gradient.norm().item()
        margin = 5e-3 * norm + 1e-4 * facts["largest_grad_norm"]
        assert size == pytest.approx(norm, abs=margin), key


@pytest.mark.slow
def test_actionmae_answers_for_every_subset(tmp_path: Path):
    facts, tensors = published.read("actionmae")
    network: Any = released.load("actionmae", published.write("actionmae", tmp_path))
    tokens = network.tokens(**published.inputs("actionmae"))
    labels = torch.tensor(facts["labels"])
    total = torch.zeros(())
    for name, kept in (("r", [0]), ("d", [1]), ("rd", [0, 1])):
        logits, rebuilt = network.answer(tokens, kept)
        close(logits.detach(), tensors[f"out/logits_{name}"])
        total = total + torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
        if rebuilt is not None:
            loss = network.rebuild_loss(tokens, rebuilt, [i for i in (0, 1) if i not in kept])
            close(loss.detach(), tensors[f"out/rebuild_loss_{name}"])
            total = total + loss
    assert total.item() == pytest.approx(facts["loss"], rel=1e-5)


@pytest.mark.slow
def test_choices_and_second_answers_of_the_large_ones(tmp_path: Path):
    with torch.no_grad():
        network: Any = released.load("ar_net", published.write("ar_net", tmp_path))
        inputs, tensors = published.inputs("ar_net"), published.read("ar_net")[1]
        assert torch.equal(network.policy(inputs["video_3"])[0], tensors["out/decisions"])
        network = released.load("adafuse_last", published.write("adafuse_last", tmp_path))
        network(**published.inputs("adafuse_last"))
        last = network.gates()[-1].argmax(-1)
        stored = published.read("adafuse_last")[1]["out/gate_last"]
        assert torch.equal(last, stored[0].long())
        network = released.load("epam_net", published.write("epam_net", tmp_path))
        _, bodies = network.both(**published.inputs("epam_net"))
        close(bodies, published.read("epam_net")[1]["out/pose_logits"])


def test_a_released_file_answers_with_its_own_classes(tmp_path: Path):
    from tests.videos import make_video
    from vlar.encoders.base import load_encoder
    from vlar.types import Clip, Window

    path = published.write("videomae_v2", tmp_path)
    spec = f"videomae-v2:{path}"
    refused(UsageError, "does not name its classes", load_encoder, spec)
    labels = [f"{word} the ball" for word in ("kick", "throw", "catch", "head", "hit", "roll")]
    (tmp_path / "few.txt").write_text("\n".join(labels))
    refused(UsageError, "7 classes, and 6 names", load_encoder, f"{spec}?labels={tmp_path}/few.txt")
    Path(f"{path}.labels.txt").write_text("\n".join([*labels, "wave"]))
    encoder = load_encoder(spec)
    frames = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    clip = Clip(tmp_path / "a.mp4", Window(0, 1), "video", frames, np.arange(8) / 8)
    (encoded,) = encoder.encode([clip])
    pixels = torch.tensor(frames).permute(3, 0, 1, 2)[None].float() / 255
    mean = torch.tensor((0.485, 0.456, 0.406))[:, None, None, None]
    deviation = torch.tensor((0.229, 0.224, 0.225))[:, None, None, None]
    with torch.no_grad():
        logits = released.load("videomae_v2", path)((pixels - mean) / deviation)[0]
    assert encoded.features.shape == (1, 7 + 32)
    np.testing.assert_allclose(encoded.features[0, :7], logits.numpy(), atol=1e-4)
    model = vlar.load(spec)
    video = make_video(tmp_path / "b.mp4", 8, fps=8, size=(48, 48))
    answer = model.classify(video, [*labels, "wave"])
    assert len(answer.predictions) == 5


def test_a_folder_in_the_layout_of_v2_answers_as_the_network(tmp_path: Path):
    from safetensors.torch import save_file

    from tests.clips import clips_of
    from vlar.encoders.base import load_encoder

    folder, config = tmp_path / "m", published.read("videomae_v2")[0]["config"]
    folder.mkdir()
    state = published.weights("videomae_v2").items()
    named = {f"model.{k}": v.contiguous() for k, v in state if not k.startswith("head.")}
    save_file(named, folder / "model.safetensors")
    stated = {
        "model_type": "VideoMAEv2_Base", "auto_map": {"AutoModel": "modeling.VideoMAEv2"},
        "model_config": {**config, "num_classes": 0},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(stated))
    encoder: Any = load_encoder(f"videomae:{folder}")
    network: Any = released.load("videomae_v2", published.write("videomae_v2", tmp_path))
    shape = (1, config["all_frames"], config["img_size"], config["img_size"], 3)
    clips = clips_of(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    pixels = encoder.pixels_of(clips[0].data).transpose(0, 1)[None]
    with torch.inference_mode():
        close(torch.from_numpy(encoder.encode(clips)[0].features), network.features(pixels))
    save_file({**named, "model.more": torch.zeros(2)}, folder / "model.safetensors")
    refused(UsageError, "1 left over", load_encoder, f"videomae:{folder}")


def test_a_released_file_starts_a_training_with_a_new_head(tmp_path: Path):
    from vlar import registry
    from vlar.apps.cli import adapt
    from vlar.encoders.base import load_encoder

    path = published.write("videomae_v2", tmp_path)
    asked = {"start": str(path), "method": "own-net"}
    spec, changed = adapt._started("lite", asked)
    assert changed == {"start": None, "method": "own-net"}
    other = {**asked, "method": "hd-gcn"}
    assert adapt._started("lite", other) == ("lite", other)
    encoder = load_encoder(spec)
    assert encoder.frame_dim == 32
    tower = registry.get("adapter", "own-net").attach(encoder, {})
    tower.training_classes(["wave", "walk"])
    assert any(name.startswith("model.blocks.0") for name, _ in tower.trainable())


def test_a_file_of_another_network_is_refused(tmp_path: Path):
    from vlar.encoders.base import load_encoder
    from vlar.errors import ModelError

    path = published.write("trx", tmp_path)
    caught = refused(ModelError, "is none of the networks i3d", load_encoder, f"i3d:{path}")
    assert "\n" not in caught.value.message
