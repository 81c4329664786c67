"""Published networks of bodies: their released files are read, and answer as the originals do.

``load("hdgcn", "runs-90.pt")`` gives a plain ``torch.nn.Module`` from clips (N, M, T, V, C) of N
recordings, M people, T frames, V joints and C axes to logits (N, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    Build = Callable[[dict[str, Any]], nn.Module]


def _layers(*rows: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"inputs": row[0], "outputs": row[1], "stride": row[2]} for row in rows]


def _ten(first: int) -> list[dict[str, int]]:
    """The ten blocks of CTR-GCN, HD-GCN and PSUMNet, from ``first`` channels."""
    return _layers(
        (first, 64, 1),
        *[(64, 64, 1)] * 3,
        (64, 128, 2),
        *[(128, 128, 1)] * 2,
        (128, 256, 2),
        *[(256, 256, 1)] * 2,
    )


_NTU = {"joints": 25, "people": 2, "frames": 64, "in_channels": 3, "num_classes": 60}
_CTR = {**_NTU, "layers": _ten(3)}
_HYPER = _layers(
    *[(128, 128, 1)] * 3, (128, 256, 2), *[(256, 256, 1)] * 2, (256, 256, 2), *[(256, 256, 1)] * 2
)
_PARTS = {25: range(10), 13: (0, 4, 5, 6, 7, 8), 9: (0, 4, 5, 7)}

#: Settings of the full networks on NTU RGB+D.
FULL: dict[str, dict[str, Any]] = {
    "ctrgcn": _CTR,
    "hdgcn": {**_CTR, "centre": 21},
    "chase": {**_CTR, "num_classes": 26, "c1": 64, "c2": 8, "pooling_seg": [1, 1, 1]},
    "psumnet": {**_NTU, "in_channels": 12, "layers": _ten(12)},
    "hypergcn": {
        **_NTU,
        "embed": 128,
        "virtual": 3,
        "neighbours": 9,
        "num_subset": 8,
        "layers": _HYPER,
    },
    "protogcn": {
        **_NTU,
        "frames": 100,
        "num_prototype": 400,
        "num_filter": 8,
        "ratio": 0.125,
        "base_channels": 96,
        "num_stages": 10,
        "inflate_stages": [5, 8],
        "down_stages": [5, 8],
        "contrast_width": 256,
    },
    "skateformer": {
        **_NTU,
        "joints": 24,
        "depths": [2, 2, 2, 2],
        "channels": [96, 192, 192, 192],
        "embed_dim": 96,
        "num_heads": 32,
        "kernel_size": 7,
        "mlp_ratio": 4.0,
        "type_1_size": [8, 8],
        "type_2_size": [8, 12],
        "type_3_size": [8, 8],
        "type_4_size": [8, 12],
    },
    "istanet": {
        "window_size": [20, 1, 2],
        "num_frames": 120,
        "num_joints": 25,
        "num_persons": 2,
        "num_heads": 3,
        "kernel_size": [3, 5],
        "num_classes": 26,
        "in_channels": 3,
        "config": [
            *[[64, 64, 16]] * 2,
            [64, 128, 32],
            [128, 128, 32],
            [128, 256, 64],
            *[[256, 256, 64]] * 3,
        ],
    },
}
#: Endings of names that a file may lack: second names, and what the network computes itself.
_OPTIONAL = ("relative_position_index", "pes.pe")


def build(name: str, config: dict[str, Any] | None = None) -> nn.Module:
    """A published network with random weights.

    Args:
        name: One of ``FULL``.
        config: Its settings; those of the full network by default.

    Raises:
        UsageError: no such network, or a setting is missing.
    """
    from vlar.methods.skeleton_towers.released.ctr_gcn import Chase, CtrGcn
    from vlar.methods.skeleton_towers.released.hd_gcn import HdGcn
    from vlar.methods.skeleton_towers.released.hyper_gcn import HyperGcn
    from vlar.methods.skeleton_towers.released.ista_net import IstaNet
    from vlar.methods.skeleton_towers.released.proto_gcn import ProtoGcn
    from vlar.methods.skeleton_towers.released.skate_former import SkateFormer

    networks: dict[str, Build] = {
        "ctrgcn": CtrGcn,
        "psumnet": lambda settings: CtrGcn(settings, eight=(3, 6), listed=True),
        "chase": Chase,
        "hdgcn": HdGcn,
        "hypergcn": HyperGcn,
        "protogcn": ProtoGcn,
        "skateformer": SkateFormer,
        "istanet": IstaNet,
    }
    if name not in networks:
        raise UsageError(f"no released network {name!r}; there are {', '.join(networks)}")
    try:
        return networks[name](FULL[name] if config is None else config)
    except KeyError as error:
        raise UsageError(f"the settings of {name} lack {error.args[0]!r}") from error


#: The last layer of each network, whose inputs are the features of a clip.
_HEADS = {"skateformer": "head", "protogcn": "cls_head.fc_cls", "chase": "backbone.fc"}


def split_head(name: str, network: nn.Module) -> nn.Linear:
    """Take the class head off a network, which then gives features (N, W)."""
    from torch import nn

    parent, _, last = _HEADS.get(name, "fc").rpartition(".")
    owner = network.get_submodule(parent)
    head = getattr(owner, last)
    setattr(owner, last, nn.Identity())
    return head


def headless(name: str, config: dict[str, Any]) -> tuple[nn.Module, int]:
    """A network with random weights without its class head, and the width of its features."""
    network = build(name, config)
    return network, split_head(name, network).in_features


def load(name: str, path: str | Path) -> nn.Module:
    """A published network with the weights of a file, in evaluation mode.

    Args:
        name: ``ctrgcn``, ``hdgcn``, ``skateformer``, ``hypergcn`` (base or large), ``protogcn``,
            ``istanet``, ``chase`` (around CTR-GCN) or ``psumnet`` (one stream).
        path: ``.pt``, ``.pth`` or ``.safetensors``; settings of another size in ``<path>.json``.

    Returns:
        A module from (N, M, T, V, C) float32 to logits (N, classes).

    Raises:
        UsageError: no such network, or names or shapes do not fit; the message counts them.
        ModelError: the file is missing or damaged, or holds more than data.
    """
    from vlar.training import released

    if name not in FULL:
        raise UsageError(f"no released network {name!r}; there are {', '.join(FULL)}")
    state, config = released.read(path)
    network = build(name, {**FULL[name], **_of_file(name, state), **config})
    return released.fill(network, state, path, optional=_optional(name, network, state))


def _optional(name: str, network: nn.Module, state: dict[str, Tensor]) -> tuple[str, ...]:
    """Endings of names that a file may lack: second names of HD-GCN where it has none."""
    if name != "hdgcn" or any(".conv_d." in key for key in state):
        return _OPTIONAL
    return (*_OPTIONAL, *(key for key in network.state_dict() if ".conv_d." in key))


def fill_features(name: str, network: nn.Module, path: str | Path) -> nn.Module:
    """Put the weights of a file into a network of ``headless``; its class head is left out.

    Raises:
        UsageError: names or shapes do not fit; the message counts them.
        ModelError: the file is missing or damaged, or holds more than data.
    """
    from vlar.training import released

    head = f"{_HEADS.get(name, 'fc')}."
    state = {k: v for k, v in released.read(path)[0].items() if not k.startswith(head)}
    return released.fill(network, state, path, optional=_optional(name, network, state))


def _of_file(name: str, state: dict[str, Tensor]) -> dict[str, Any]:
    """Settings of a full network that the shapes of its file tell."""
    heads = ("fc.weight", "backbone.fc.weight", "cls_head.fc_cls.weight", "head.weight")
    settings: dict[str, Any] = {}
    for head in heads:
        if head in state:
            settings["num_classes"] = len(state[head])
    if name == "protogcn" and "backbone.prn.query_matrix.weight" in state:
        settings["num_prototype"] = len(state["backbone.prn.query_matrix.weight"])
    if name == "hdgcn" and "l1.gcn1.PA" in state:
        from vlar.methods.skeleton_towers.released.hd_gcn import centre_of

        settings["centre"] = centre_of(state["l1.gcn1.PA"])
    if name == "hypergcn" and "l7.gcn1.bn.weight" in state:
        last = len(state["l7.gcn1.bn.weight"])
        settings["layers"] = [*_HYPER[:6], *_layers((256, last, 2), *[(last, last, 1)] * 2)]
    if name == "psumnet" and "layers.0.gcn1.PA" in state:
        joints = state["layers.0.gcn1.PA"].shape[-1]
        blocks = _ten(12)
        settings |= {"joints": joints, "layers": [blocks[i] for i in _PARTS.get(joints, ())]}
    return settings
