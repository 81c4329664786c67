"""Published networks of bodies equal their originals, and read their files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from tests.refusals import refused  # noqa: E402
from vlar.errors import UsageError  # noqa: E402
from vlar.methods.skeleton_towers import released  # noqa: E402
from vlar.methods.skeleton_towers.released.ctr_gcn import box_distance  # noqa: E402
from vlar.methods.skeleton_towers.released.hd_gcn import LEVELS, centre_of, hierarchy  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden" / "nets"
NAMES = tuple(released.FULL)
#: Inner tensors, and the module whose output they are.
INNER = {
    "ctrgcn": {"data_bn": "data_bn", "l1_space": "l1.gcn1", "l1_time": "l1.tcn1", "l3": "l3"},
    "hdgcn": {
        "data_bn": "data_bn", "l1_space": "l1.gcn1", "l1": "l1", "l2_aha": "l2.gcn1.aha",
        "l3_time": "l3.tcn1",
    },
    "chase": {"pooled": "shift.1", "scores": "shift.4", "l1": "backbone.l1", "l2": "backbone.l2"},
    "psumnet": {
        "data_bn": "data_bn", "l1_space": "layers.0.gcn1", "l1_time": "layers.0.tcn1",
        "last": "layers.2",
    },
    "hypergcn": {"l1_space": "l1.gcn1", "l1": "l1", "l3_time": "l3.tcn1"},
    "protogcn": {"data_bn": "backbone.data_bn", "last_time": "backbone.gcn.2.tcn"},
    "skateformer": {
        "stem": "stem", "block1": "stages.0.blocks.0", "merged": "stages.1.blocks.0.downsample",
        "last": "stages.1.blocks.0",
    },
    "istanet": {
        "block2_residual_TA": "blocks.1.residual_TA", "block2": "blocks.1", "last": "blocks.2",
    },
}  # fmt: skip


def golden(name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Facts, weights and other tensors of a network."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    weights = {k[7:]: v for k, v in tensors.items() if k.startswith("weight/")}
    others = {k: v for k, v in tensors.items() if not k.startswith("weight/")}
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8")), weights, others


def stored(folder: Path, name: str, form: str = "safetensors") -> Path:
    """The file of a small network as somebody would have it, with its settings next to it."""
    facts, weights, _ = golden(name)
    path = folder / f"{name}.{'safetensors' if form == 'safetensors' else 'pt'}"
    if form == "safetensors":
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    else:
        named = {f"module.{key}" if form == "module" else key: v for key, v in weights.items()}
        wrapped = {"state_dict": named, "epoch": 3} if form == "state_dict" else named
        torch.save(wrapped, path)
    Path(f"{path}.json").write_text(json.dumps({"name": name, "config": facts["config"]}))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_inner_tensors_equal_the_original(name: str, tmp_path: Path):
    _, _, tensors = golden(name)
    network = released.load(name, stored(tmp_path, name))
    assert not network.training
    inner: dict[str, Any] = {}
    modules = dict(network.named_modules())
    for key, module in INNER[name].items():
        keep = lambda *event, key=key: inner.update({key: event[2]})  # noqa: E731
        modules[module].register_forward_hook(keep)
    with torch.no_grad():
        logits = network(tensors["input/x"])
    torch.testing.assert_close(logits, tensors["out/logits"], atol=2e-5, rtol=0)
    for key, value in inner.items():
        expected = tensors[f"act/{key}"]
        scale = float(expected.abs().max())
        ours = value[: len(expected)]
        torch.testing.assert_close(ours, expected, atol=1e-5 * max(1, scale), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_training_means_batch_statistics_and_the_gradients_are_equal(name: str, tmp_path: Path):
    facts, _, tensors = golden(name)
    network = released.load(name, stored(tmp_path, name)).train()
    clips = tensors["input/x"].clone().requires_grad_()
    logits = network(clips)
    torch.testing.assert_close(logits.detach(), tensors["train/logits"], atol=2e-5, rtol=0)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(facts["labels"]))
    loss.backward()
    assert loss.item() == pytest.approx(facts["loss"], abs=1e-5)
    assert clips.grad is not None
    assert clips.grad.norm().item() == pytest.approx(facts["input_grad_norm"], rel=2e-3)
    for key, parameter in network.named_parameters():
        if parameter.grad is not None and key in facts["grad_norms"]:
            norm = facts["grad_norms"][key]
            assert parameter.grad.norm().item() == pytest.approx(norm, rel=2e-3, abs=2e-5), key


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_tensor_changes_the_logits(name: str, tmp_path: Path):
    _, weights, tensors = golden(name)
    path = stored(tmp_path, name)
    ends = ("1.gcn1.bn.weight", "0.gcn1.bn.weight", "0.gcn.bn.weight", "stem.4.weight")
    key = next(k for k in weights if k.endswith((*ends, "embed.1.weight")))
    weights[key] = weights[key] + 0.1
    save_file({k: v.contiguous() for k, v in weights.items()}, path)
    with torch.no_grad():
        logits = released.load(name, path)(tensors["input/x"])
    assert float((logits - tensors["out/logits"]).abs().max()) > 1e-3


FULL = json.loads((GOLDEN / "bodies_full.json").read_text("utf-8"))
PARTS = {"psumnet_body": 25, "psumnet_hand": 13, "psumnet_leg": 9}


@pytest.mark.parametrize("name", FULL)
def test_a_full_network_has_the_names_and_sizes_of_the_released_file(name: str):
    network, _, _ = name.partition("_")
    shapes: dict[str, Any] = {}
    if name in PARTS:
        shapes["layers.0.gcn1.PA"] = torch.empty(3, PARTS[name], PARTS[name], device="meta")
    if network == "hypergcn":
        width = 512 if "large" in name else 256
        shapes["l7.gcn1.bn.weight"] = torch.empty(width, device="meta")
    with torch.device("meta"):
        settings = released.FULL[network] | released._of_file(network, shapes)
        built = released.build(network, settings)
    rows = {key: list(value.shape) for key, value in built.state_dict().items()}
    text = "\n".join(f"{key} {shape}" for key, shape in sorted(rows.items()))
    facts = FULL[name]
    assert len(rows) == facts["entries"]
    assert sum(p.numel() for p in built.parameters()) == facts["parameters"]
    assert hashlib.sha256(text.encode()).hexdigest() == facts["sha256"]


@pytest.mark.parametrize("form", ["plain", "state_dict", "module"])
def test_files_of_torch_are_read_as_data(form: str, tmp_path: Path):
    _, _, tensors = golden("ctrgcn")
    network = released.load("ctrgcn", stored(tmp_path, "ctrgcn", form))
    with torch.no_grad():
        torch.testing.assert_close(
            network(tensors["input/x"]), tensors["out/logits"], atol=2e-5, rtol=0
        )


def test_what_does_not_fit_is_counted_and_named(tmp_path: Path):
    path = stored(tmp_path, "istanet")
    _, weights, _ = golden("istanet")
    first = {k: v.contiguous() for k, v in weights.items() if not k.startswith("fc")}
    save_file(first | {"extra.a": torch.zeros(1)}, path)
    caught = refused(UsageError, "2 missing", released.load, "istanet", path)
    assert "fc.weight" in caught.value.message
    assert "1 left over (extra.a)" in caught.value.message
    assert "\n" not in caught.value.message
    wrong = {k: v.contiguous() for k, v in weights.items()} | {"fc.bias": torch.zeros(3)}
    save_file(wrong, path)
    refused(UsageError, r"fc.bias is \(3,\)", released.load, "istanet", path)
    refused(UsageError, "no released network 'none'", released.load, "none", path)
    Path(f"{path}.json").write_text("[1]")
    refused(UsageError, "no object of settings", released.load, "istanet", path)


def test_settings_of_the_network_itself_may_be_called_config(tmp_path: Path):
    path = stored(tmp_path, "istanet")
    facts, _, tensors = golden("istanet")
    Path(f"{path}.json").write_text(json.dumps(facts["config"]))
    with torch.no_grad():
        logits = released.load("istanet", path)(tensors["input/x"])
    torch.testing.assert_close(logits, tensors["out/logits"], atol=2e-5, rtol=0)


def test_hd_gcn_without_the_second_names_and_with_absent_people(tmp_path: Path):
    path = stored(tmp_path, "hdgcn")
    _, weights, tensors = golden("hdgcn")
    save_file({k: v.contiguous() for k, v in weights.items() if ".conv_d." not in k}, path)
    with torch.no_grad():
        logits = released.load("hdgcn", path)(tensors["input/x_absent"])
    torch.testing.assert_close(logits, tensors["out/logits_absent"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("centre", LEVELS)
def test_the_centre_of_a_file_is_told_by_its_strongest_edges(centre: int):
    draw = torch.Generator().manual_seed(centre)
    graphs = hierarchy(LEVELS[centre])
    noise = 0.05 * torch.randn(graphs.shape, generator=draw)
    assert centre_of(graphs + noise) == centre


def test_chase_subtracts_a_point_of_the_hull_and_compares_boxes(tmp_path: Path):
    _, _, tensors = golden("chase")
    network: Any = released.load("chase", stored(tmp_path, "chase"))
    clips = tensors["input/x"]
    with torch.no_grad():
        moved = network.moved(clips)
        origin = network.origin(clips).flatten(1)
    torch.testing.assert_close(moved, tensors["out/shifted"], atol=1e-5, rtol=0)
    torch.testing.assert_close(origin, tensors["out/origin"][:, 0], atol=1e-5, rtol=0)
    loss = box_distance(moved, 0, 1)
    torch.testing.assert_close(loss, tensors["out/mmd_people_0_1"][0], atol=1e-5, rtol=0)


def test_skateformer_takes_times(tmp_path: Path):
    _, _, tensors = golden("skateformer")
    network = released.load("skateformer", stored(tmp_path, "skateformer"))
    with torch.no_grad():
        logits = network(tensors["input/x"], tensors["input/index_t"])
    torch.testing.assert_close(logits, tensors["out/logits_index_t"], atol=2e-5, rtol=0)


def test_hyper_gcn_keeps_its_virtual_joints_apart(tmp_path: Path):
    _, _, tensors = golden("hypergcn")
    network: Any = released.load("hypergcn", stored(tmp_path, "hypergcn"))
    loss = network.likeness().detach()
    torch.testing.assert_close(loss, tensors["out/virtual_likeness"][0], atol=1e-5, rtol=0)


def test_proto_gcn_contrasts_graphs(tmp_path: Path):
    _, _, tensors = golden("protogcn")
    network: Any = released.load("protogcn", stored(tmp_path, "protogcn"))
    with torch.no_grad():
        logits, graphs = network.graph(tensors["input/x"])
        loss, after = network.contrast(
            graphs, logits, tensors["input/contrast_labels"].long(), tensors["input/memory"]
        )
    torch.testing.assert_close(logits, tensors["out/logits"], atol=2e-5, rtol=0)
    torch.testing.assert_close(graphs, tensors["out/graph"], atol=1e-5, rtol=0)
    torch.testing.assert_close(after, tensors["out/contrast_memory_after"], atol=1e-5, rtol=0)
    assert loss.item() == pytest.approx(2.4573157, abs=1e-5)
