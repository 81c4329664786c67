"""Interface of an adapter: an encoder with trained parts around or inside it."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import parse_qsl

import numpy as np
from typing_extensions import Self

from vlar import registry
from vlar.adapters.settings import Settings
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.encoders.beside import Wrapper, copy_attributes
from vlar.encoders.download import sources
from vlar.encoders.hub_source import Hub
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.spec import STATED
from vlar.errors import ModelError, UsageError
from vlar.types import Float32, JsonDict

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


class Adapter(Wrapper):
    """An encoder made of another encoder and parameters of its own.

    It starts as the identity or as the start its method declares. The wrapped encoder never
    changes: a method that also trains the towers works on a copy of them.

    A method names itself and its settings (``method``, ``config_type``); ``attach``, the settings
    of a saved model and their checks follow from them.

    Attributes:
        method: The registered name.
        config_type: Class of the settings.
        encoder: The wrapped encoder.
        config: The settings.
        network: What is trained; a method without one gives ``module``.
        needs: Views the wrapped encoder must offer, by name; see ``vlar.adapters.base``.
        learner: Registered name of the learner that finds its parameters, unless a user names one.
        recipe: Name of its recipes; None means its own name, and the general ones without any.
        preset_settings: Defaults of a preset; empty for an adapter that is none.
        facts: Columns of a support set that it reads next to ``vlar.heads.support.FACTS``.
        open_vocabulary: Whether it is made to answer about labels without examples. A model adapted
            with it answers a list that has one from its texts alone.
        names_norms: Whether a model keeps statistics of its norms (``vlar.adapters.statistics``).
        contract_base: What ``vlar.testing`` attaches it to: ``clip`` for a tiny CLIP with random
            weights, the spec of an encoder that loads offline, or None for nothing.
        settings_before: Settings of earlier versions, and their names today.
        arrays_before: Beginnings of names of arrays of earlier versions, and those of today.
        file: Name of its arrays in a model folder, where it is the outermost adapter.
        changes: Attributes of the encoder that the method answers for itself, in addition to
            ``name`` and ``fingerprint``; all others are copied.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    learner: ClassVar[str] = "trained"
    recipe: ClassVar[str | None] = None
    preset_settings: ClassVar[Mapping[str, Any]] = {}
    facts: ClassVar[tuple[str, ...]] = ()
    open_vocabulary: ClassVar[bool] = False
    names_norms: ClassVar[bool] = False
    contract_base: ClassVar[str | None] = "clip"
    settings_before: ClassVar[Mapping[str, str]] = {}
    arrays_before: ClassVar[Mapping[str, str]] = {}
    file: ClassVar[str] = "adapter.safetensors"
    changes: ClassVar[frozenset[str]] = frozenset()
    config_type: ClassVar[type[Settings]] = Settings
    method: ClassVar[str]
    network: Any
    config: Any

    @classmethod
    def sources(cls, argument: str) -> list[Hub]:
        """Repositories of the encoder that a checkpoint is opened with, where ``base`` names it."""
        base = dict(parse_qsl(argument.partition("?")[2])).get("base")
        return sources(base) if base else []

    def __init__(self, encoder: Encoder, config: Any) -> None:
        """Use ``attach``."""
        self._wrap(encoder, self.method)
        self.config = config

    def _wrap(self, encoder: Encoder, name: str) -> None:
        """Take an encoder and its attributes; a method that changes one sets it afterwards."""
        self.encoder = encoder
        copy_attributes(self, encoder)
        self.name = name
        if "descriptions" in self.changes:
            self.descriptions = ()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Self:
        """Build the adapter at its start.

        Args:
            encoder: What to wrap.
            settings: As ``settings`` returns them; None means the method's defaults.

        Raises:
            ModelError: the encoder does not offer what the adapter needs, or a setting is out of
                range.
            UnknownNameError: a setting does not exist.
        """
        require(encoder, cls.needs, cls.method)
        return cls(encoder, cls.resolved(cls.read_config(settings or {}), encoder))

    @classmethod
    def read_config(cls, settings: JsonDict) -> Any:
        """The checked settings.

        Raises:
            UnknownNameError: a setting does not exist.
            ModelError: a value has another type or is out of range.
        """
        named = {cls.settings_before.get(name, name): value for name, value in settings.items()}
        return cls.config_type.from_dict(named)

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        """The settings with what follows from the encoder; as they are unless a method fills some.

        Raises:
            ModelError: the encoder lacks what a setting asks for.
        """
        return config

    @classmethod
    def check_settings(cls, settings: JsonDict) -> None:
        """Refuse settings that are out of range, before anything is built.

        Raises:
            UnknownNameError: a setting does not exist.
            ModelError: a value has another type or is out of range.
        """
        if cls.config_type is not Settings:  # one of its own reads what it likes
            cls.read_config(settings)

    @classmethod
    def from_spec(cls, argument: str) -> Adapter:
        """Load a checkpoint of the method's original; ``argument`` is the text after ``NAME:``.

        Raises:
            ModelError: it has none; the message names the remedy.
        """
        raise ModelError(
            f"{argument!r} cannot be read: this adapter has no checkpoints of an original; train "
            "it, save the model, and load the model folder"
        )

    @classmethod
    def preset(cls, made: registry.Preset) -> type[Adapter]:
        """Copy of this adapter with other defaults, under a name of its own.

        Its table may hold ``settings``, and ``recipe``, ``learner``, ``status`` or ``summary`` in
        place of those of this one. Settings that a user gives come before those of the preset.

        Raises:
            UsageError: the table holds something else.
        """
        keys = {"settings", "recipe", "learner", "status", "summary"}
        strange = sorted(made.values.keys() - keys)
        if strange:
            raise UsageError(
                f"{made.file}: preset {made.name!r} has the key {strange[0]!r}; a preset of an "
                "adapter has of, settings, recipe, learner, status and summary"
            )
        preset_values: JsonDict = {**cls.preset_settings, **made.values.get("settings", {})}

        def attach(part: Any, encoder: Any, settings: JsonDict | None = None, **how: Any) -> Any:
            adapter = _above(variant, part).attach(
                encoder, {**preset_values, **(settings or {})}, **how
            )
            adapter.name = made.name
            return adapter

        def check_settings(part: Any, settings: JsonDict) -> None:
            _above(variant, part).check_settings({**preset_values, **settings})

        facts = {
            "attach": classmethod(attach),
            "check_settings": classmethod(check_settings),
            "preset_settings": preset_values,
            "recipe": made.values.get("recipe") or cls.recipe or made.of,
            "learner": made.values.get("learner") or cls.learner,
            "__module__": cls.__module__,
            "__doc__": made.values.get("summary") or cls.__doc__,
        }
        variant = type(f"{cls.__name__} {made.name}", (cls,), facts)
        return variant

    @property
    def settings(self) -> JsonDict:
        """Arguments of ``attach`` to build it again, for the manifest of a saved model."""
        return self.config.to_dict()

    @property
    def norm_layers(self) -> tuple[str, ...]:
        """Names of the norms of ``module`` with a scale and a shift, where ``names_norms``."""
        from torch import nn

        kinds = nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
        parts = self.module.named_modules() if self.names_norms else ()
        return tuple(n for n, part in parts if isinstance(part, kinds) and [*part.parameters()])

    @property
    def module(self) -> nn.Module:
        """The adapter's own parameters: those of ``network``, unless a method has more."""
        return self.network

    def state_dict(self) -> dict[str, Float32]:
        """The adapter's own parameters by name; nothing of the encoder."""
        state = self.module.state_dict()
        return {name: t.detach().float().cpu().numpy().copy() for name, t in state.items()}

    def saved_state(self) -> dict[str, Float32]:
        """``state_dict`` by the names that a model folder has; ``load_state_dict`` reads both."""
        return self.state_dict()

    def write_settings(self, folder: Path) -> None:
        """Write what other libraries read next to ``file``."""

    def check_state(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a state that is not of this adapter.

        Raises:
            ModelError: names or shapes differ; the message names the first.
        """
        expected = self.module.state_dict()
        shapes = self._by_names_of_today(shapes, expected)
        empty = {name for name, tensor in expected.items() if not tensor.numel()}
        for name in sorted((expected.keys() ^ shapes.keys()) - empty):
            verb = "lacks" if name in expected else "has no place for"
            raise ModelError(
                f"the saved adapter {verb} {name[:80]!r}; it was made with other settings"
            )
        for name, shape in shapes.items():
            if shape != tuple(expected[name].shape):
                raise ModelError(
                    f"the saved adapter's {name!r} is {shape}, this one's "
                    f"{tuple(expected[name].shape)}; it was made with other settings"
                )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned.

        Raises:
            ModelError: names or shapes differ; the message names the first.
        """
        import torch

        tensors = {name: torch.as_tensor(value) for name, value in state.items()}
        self.check_state({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        before = self.module.state_dict()
        self.module.load_state_dict(before | self._by_names_of_today(tensors, before))
        self.refresh()

    def _by_names_of_today(
        self, entries: Mapping[str, T], expected: Mapping[str, Any]
    ) -> dict[str, T]:
        named: dict[str, T] = {}
        for name, entry in entries.items():
            module, _, parameter = name.partition(".")
            today = f"{self.arrays_before.get(module, module)}.{parameter}"
            named[today if name not in expected and today in expected else name] = entry
        return named

    def content_hash(
        self,
        source: Encoder,
        settings: Any,
        *more: str,
        arrays: Mapping[str, np.ndarray[Any, Any]] | None = None,
    ) -> str:
        """A fingerprint: what it reads, its settings, its parameters (None: those of today)."""
        digest = hashlib.sha256(source.fingerprint.encode())
        digest.update(json.dumps(settings, sort_keys=True).encode())
        digest.update("".join(more).encode())
        for name, array in sorted((arrays or self.state_dict()).items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @abstractmethod
    def refresh(self) -> None:
        """Clear what was computed from the parameters; call it after they changed."""


def _above(part: Any, asked: Any) -> Any:
    """``super`` of a class that is made at run time."""
    return super(part, asked)


def attached_name(encoder: Encoder) -> str | None:
    """The registered name under which ``attach`` can build this adapter again.

    None for a plain encoder, and for an adapter that a spec such as ``tc-clip:FILE`` loads whole.
    """
    if not isinstance(encoder, Adapter) or encoder.name not in registry.names("adapter"):
        return None
    return encoder.name if isinstance(encoder, registry.get("adapter", encoder.name)) else None


def conditions_text(encoder: Encoder) -> ConditionedText | None:
    """The encoder as one whose text depends on the video, or None if it does not."""
    return encoder if isinstance(encoder, ConditionedText) else None


def training_type(method: str | None) -> str | None:
    """Number type to load a model in that a method is trained on; None for the model's default.

    Inside towers small steps are lost in weights of bf16, so there a new model is float32.
    """
    is_inside = (
        method in registry.names("adapter")
        and "vit_blocks" in registry.get("adapter", str(method)).needs
    )
    return STATED if is_inside else None


def load_adapter(spec: str, device: str | None = None, dtype: str | None = None) -> Adapter:
    """The adapter a spec names together with its encoder: ``tc-clip:FILE.pth``.

    Raises:
        UnknownNameError: no adapter has this name.
        UsageError: the spec names no file.
    """
    return registry.load("adapter", spec, device=device, dtype=dtype)
