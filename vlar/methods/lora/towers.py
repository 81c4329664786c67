"""Towers with low-rank changes next to the frozen weights, and the same changes merged into a copy.

Where a tower shows its blocks the changes sit in the block view: each projection becomes a linear
layer that shares the model's memory, whether the library keeps queries, keys and values as one
parameter or as three, and peft wraps it. Where it shows none (SigLIP), peft wraps the linear layers
inside the blocks of a copy of the modules that shares all weights. The model itself never changes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from vlar.adapters.settings import Settings, setting
from vlar.encoders.clip.block_view import BlockView, TextView, VisionView
from vlar.encoders.clip.towers import Towers
from vlar.errors import ModelError

TOWERS = ("both", "text", "vision")
_NAME = "default"  # peft's name of the only adapter
_PROJECTIONS = ("query", "key", "value")
_IN_A_BLOCK = re.compile(r"\.\d+\.")
_VIEWED = re.compile(r"(vision|text)\.(\d+)\.(\w+)")
_IN_TRANSFORMERS = {
    **{name: f"self_attn.{name[0]}_proj" for name in _PROJECTIONS},
    "out": "self_attn.out_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
View = TypeVar("View", VisionView, TextView)


@dataclass(frozen=True)
class LoraConfig(Settings):
    """Layers with a low-rank change, and its size (arXiv 2106.09685).

    Attributes:
        towers: ``vision``, ``text`` or ``both``.
        rank: Rank of each change.
        alpha: A change is scaled by ``alpha / rank``.
        dropout: Dropout on the input of a change, 0 to below 1; in training only.
        mlp: Change the MLPs too, not the attention alone.
        n_frames: T the model is trained with; any T works.
    """

    towers: str = setting("both", choices=TOWERS)
    rank: int = setting(8, at_least=1, at_most=1024)
    alpha: float = 16.0
    dropout: float = setting(0.0, at_least=0, below=1)
    mlp: bool = False
    n_frames: int = setting(8, at_least=1, at_most=1024)

    what: ClassVar[str] = "LoRA setting"

    def trains(self, tower: str) -> bool:
        """Return whether ``vision`` or ``text`` is changed."""
        return self.towers in ("both", tower)


@dataclass(frozen=True)
class LoraBlock(BlockView):
    """A block whose layers are peft's.

    Attributes:
        layers: ``query``, ``key`` and ``value``; what follows them is in the block's own fields.
    """

    layers: nn.ModuleDict

    def project(self, normed: Tensor, first: int = 0, last: int = 3) -> Tensor:
        parts = [self.layers[name](normed) for name in _PROJECTIONS[first:last]]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class LoraTowers:
    """A model seen with its changes.

    Attributes:
        image: Pixels (N, 3, height, width) to features (N, D), not normalised.
        text: Token ids (N, L) to features (N, D), not normalised.
        own: The changes alone, ``A`` and ``B`` of each layer.
    """

    image: Callable[[Tensor], Tensor]
    text: Callable[[Tensor], Tensor]
    own: nn.ModuleDict

    def __init__(self, towers: Towers, config: LoraConfig) -> None:
        """Changes of effect 0.

        Raises:
            ModelError: a tower that is to be changed has no linear layer in its blocks.
        """
        self._towers = towers
        self.image, self.text = towers.image, towers.text
        self._viewed: dict[str, nn.ModuleDict] = {}  # by tower
        self._copied: dict[str, Any] = {}  # peft's layers by module name
        self._config = config
        for tower in ("vision", "text"):
            if config.trains(tower):
                self._change(tower)
        self.own = nn.ModuleDict(
            {
                name.replace(".", "_"): nn.ModuleDict(
                    {"A": layer.lora_A[_NAME], "B": layer.lora_B[_NAME]}
                )
                for name, layer in self._layers().items()
            }
        )
        self._paths = {name.replace(".", "_"): _path(name) for name in self._layers()}

    def peft_name(self, name: str) -> str:
        """Name by which peft saves a parameter of ``own``.

        Of a tower that shows its blocks it is that of a CLIP of transformers, of another one that
        of the model's own layer.
        """
        layer, part, _ = name.split(".")
        return f"base_model.model.{self._paths[layer]}.lora_{part}.weight"

    def peft_config(self) -> Any:
        """The settings of peft for the same changes."""
        return _peft_config(list(self._paths.values()), self._config)

    def train(self, training: bool) -> None:
        """Switch the dropout on or off."""
        for layer in self._layers().values():
            layer.train(training)

    @torch.no_grad()
    def merged(self) -> Towers:
        """The same face on a copy of the model with the changes added to its weights."""
        model = copy.deepcopy(self._towers.model)
        towers = self._towers.rebuild(model)
        for tower, layers in self._viewed.items():
            view = towers.vision_view() if tower == "vision" else towers.text_view()
            for block, changed in zip(view.blocks, layers.values(), strict=True):
                weights = _weights(block)
                for name, layer in cast(nn.ModuleDict, changed).items():
                    _add(weights[name], layer)
        for name, layer in self._copied.items():
            _add(cast(nn.Linear, model.get_submodule(name)).weight, layer)
        return towers

    def _change(self, tower: str) -> None:
        towers = self._towers
        if tower == "vision":
            view = _view_of(towers.vision_view)
            self.image = self._view(tower, view).features if view else self._copy(tower).image
        else:
            view = _view_of(towers.text_view)
            if view:
                self.text = self._view(tower, view).features
            else:
                text = self._copy(tower).text
                self.text = lambda ids: text(ids.to(towers.device))

    def _view(self, tower: str, view: View) -> View:
        """The view with changed blocks."""
        layers = nn.ModuleDict(
            {str(i): _linears(block, mlp=self._config.mlp) for i, block in enumerate(view.blocks)}
        )
        names = [
            f"{i}.{name}" for i, block in layers.items() for name in cast(nn.ModuleDict, block)
        ]
        self._viewed[tower] = _inject(layers, names, self._config)
        changed = (
            _changed(block, cast(nn.ModuleDict, layers[str(i)]))
            for i, block in enumerate(view.blocks)
        )
        return replace(view, blocks=tuple(changed))

    def _copy(self, tower: str) -> Towers:
        """The model's modules with the model's own weights in them, changed inside the blocks."""
        model = self._towers.model
        shared = {id(t): t for t in chain(model.parameters(), model.buffers())}
        model = copy.deepcopy(model, shared)
        attention = [
            f"{name}."
            for name, module in model.named_modules()
            if isinstance(module, nn.MultiheadAttention)
        ]
        names = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear)
            and _IN_A_BLOCK.search(name)
            and name.startswith("vis") == (tower == "vision")
            and not name.startswith(tuple(attention))  # its forward does not call its layers
        ]
        if not names:
            raise ModelError(f"LoRA finds no linear layer in the blocks of the {tower} tower")
        model = _inject(model, names, self._config)
        self._copied.update((name, model.get_submodule(name)) for name in names)
        return self._towers.rebuild(model)

    def _layers(self) -> dict[str, Any]:
        layers: dict[str, Any] = dict(self._copied)
        for tower, blocks in self._viewed.items():
            for i, block in blocks.items():
                for name, layer in cast(nn.ModuleDict, block).items():
                    layers[f"{tower}.{i}.{name}"] = layer
        return layers


def _view_of(make: Callable[[], View]) -> View | None:
    """The view of a tower that shows its blocks."""
    try:
        return make()
    except ModelError:
        return None


def _linears(block: BlockView, *, mlp: bool) -> nn.ModuleDict:
    """The layers of a block as linear ones on the model's own memory."""
    layers: dict[str, nn.Module] = {
        name: _shared(*block.in_proj(i, i + 1)) for i, name in enumerate(_PROJECTIONS)
    }
    others = {"out": block.out_proj, **({"fc1": block.fc1, "fc2": block.fc2} if mlp else {})}
    for name, layer in others.items():
        layers[name] = _shared(layer.weight, layer.bias)
    return nn.ModuleDict(layers)


def _shared(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


def _changed(block: BlockView, layers: nn.ModuleDict) -> LoraBlock:
    named = {field.name: getattr(block, field.name) for field in fields(BlockView)}
    named["out_proj"] = layers["out"]
    if "fc1" in layers:
        named |= {"fc1": layers["fc1"], "fc2": layers["fc2"]}
    return LoraBlock(**named, layers=layers)


def _weights(block: BlockView) -> dict[str, Tensor]:
    """Weights of a block by the names of its layers; to be written to."""
    named = {name: block.in_proj(i, i + 1)[0] for i, name in enumerate(_PROJECTIONS)}
    return named | {"out": block.out_proj.weight, "fc1": block.fc1.weight, "fc2": block.fc2.weight}


def _path(name: str) -> str:
    """Module of a layer: in a CLIP of transformers, or where the model itself has it."""
    match = _VIEWED.fullmatch(name)
    if match is None:
        return name
    return f"{match[1]}_model.encoder.layers.{match[2]}.{_IN_TRANSFORMERS[match[3]]}"


def _peft_config(names: list[str], config: LoraConfig) -> Any:
    from peft import LoraConfig as PeftConfig  # imports transformers, which takes seconds

    return PeftConfig(
        r=config.rank,
        lora_alpha=cast(int, config.alpha),  # any number works
        lora_dropout=config.dropout,
        target_modules=names,
    )


def _inject(model: Any, names: list[str], config: LoraConfig) -> Any:
    from peft import inject_adapter_in_model

    settings = _peft_config(names, config)
    return inject_adapter_in_model(settings, model, _NAME).requires_grad_(False)


def _add(weight: Tensor, layer: Any) -> None:
    weight.add_(layer.get_delta_weight(_NAME).to(weight))
