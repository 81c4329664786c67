"""Published networks of bodies: their released files are read, and answer as the originals do.

``load("hdgcn", "runs-90.pt")`` gives a plain ``torch.nn.Module`` from clips (N, M, T, V, C) of N
recordings, M people, T frames, V joints and C axes to logits (N, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.errors import UsageError
from vlar.toml import read_toml

if TYPE_CHECKING:
    from torch import Tensor, nn

    Build = Callable[[dict[str, Any]], nn.Module]


_PARTS = {25: range(10), 13: (0, 4, 5, 6, 7, 8), 9: (0, 4, 5, 7)}

#: Settings of the full networks on NTU RGB+D.
FULL: dict[str, dict[str, Any]] = read_toml(
    Path(__file__).with_name("full.toml").read_text(encoding="utf-8")
)
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
        full = FULL["hypergcn"]["layers"]
        grows, stays = {**full[6], "outputs": last}, {**full[7], "inputs": last, "outputs": last}
        settings["layers"] = [*full[:6], grows, stays, stays]
    if name == "psumnet" and "layers.0.gcn1.PA" in state:
        joints = state["layers.0.gcn1.PA"].shape[-1]
        blocks = FULL["psumnet"]["layers"]
        settings |= {"joints": joints, "layers": [blocks[i] for i in _PARTS.get(joints, ())]}
    return settings
