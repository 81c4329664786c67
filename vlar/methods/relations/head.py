"""A trained comparison of clips as a few-shot head: it keeps its examples and its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from vlar import registry
from vlar.errors import SupportError
from vlar.heads.fewshot.base import Array, FewShotHead, make_problem
from vlar.heads.signatures import sequence_length
from vlar.methods.relations.adapter import RelationAdapter
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32, Float64, JsonDict

if TYPE_CHECKING:
    from vlar.methods.relations.network import RelationNetwork

_CHUNK = 32  # clips scored at a time


@register("fewshot", "relation", status="null here")
class RelationHead(FewShotHead):
    """The logits of a relation network (``trx``, ``hyrsm``, ``gghm``) against its examples.

    Frames lose the mean frame of the examples and get unit length. Each clip is scored for itself.

    Example: ``vlar adapt support/ --out mine --method trx``.

    Attributes:
        method: Registered name of the adapter whose network it is.
        settings: Settings of that adapter.
        network: The network.
    """

    name = "relation"
    reads = "features"
    standalone = False
    method: str
    settings: JsonDict
    network: RelationNetwork
    _examples: Float32
    _member: Float32
    _centre: Float32

    @classmethod
    def of(cls, adapter: RelationAdapter) -> RelationHead:
        """A head with the network of an adapter; ``fit`` gives it examples."""
        head = cls()
        head.method, head.settings, head.network = adapter.name, adapter.settings, adapter.network
        head.kind = f"frames:{adapter.config.n_frames}"
        return head

    def fit(
        self, signatures: Float32, y: Sequence[str], *, labels: Sequence[str] | None = None
    ) -> Self:
        """Keep a support set; nothing is trained.

        Args:
            signatures: (n, S) float32 signatures of ``kind``.
            y: n labels.
            labels: Order of the C columns; default the sorted labels of ``y``.

        Raises:
            SupportError: fewer than two labels, a label without example, or sizes that differ.
        """
        problem = make_problem(y, None, labels)
        if len(signatures) != len(y):
            raise SupportError(f"{len(y)} labels for {len(signatures)} signatures")
        self.labels, self._member = problem.labels, problem.member.astype(np.float32)
        self._examples = signatures.astype(np.float32)
        frames = self._split(self._examples)
        self._centre = frames.reshape(-1, frames.shape[2]).mean(axis=0)
        return self

    @classmethod
    def example(
        cls,
        signatures: Callable[[str], Float32],
        y: Sequence[str],
        zero_shot: Float32 | None = None,
    ) -> FewShotHead:
        """The untrained network of ``trx`` at its default settings."""
        import torch

        part, head = registry.get("adapter", "trx"), cls()
        config = part.read_config({})
        head.method, head.settings = part.method, config.to_dict()
        head.kind = f"frames:{config.n_frames}"
        rows = signatures(head.kind)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            width = rows.shape[1] // config.n_frames
            head.network = part.checked_network(width, head.settings)
        return head.fit(rows, y)

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``; texts do not count."""
        import torch

        supports = torch.from_numpy(self.frames(self._examples))
        member, parts = torch.from_numpy(self._member), [np.zeros((0, len(self.labels)))]
        with torch.no_grad():
            for start in range(0, len(signatures), _CHUNK):
                queries = torch.from_numpy(self.frames(signatures[start : start + _CHUNK]))
                rows = [self.network(query[None], supports, member) for query in queries]
                parts.append(torch.cat(rows).double().numpy())
        return np.concatenate(parts)

    def frames(self, signatures: Float32) -> Float32:
        """(m, T, F) frames as the network reads them."""
        return unit(self._split(signatures.astype(np.float32)) - self._centre)

    def _split(self, signatures: Float32) -> Float32:
        length = sequence_length(self.kind)
        return signatures.reshape(len(signatures), length, -1) * np.float32(np.sqrt(length))

    def state(self) -> dict[str, Array]:
        """The examples and the parameters of the network."""
        parameters = {
            f"network.{name}": tensor.detach().float().cpu().numpy().copy()
            for name, tensor in self.network.state_dict().items()
        }
        arrays = {"examples": self._examples, "member": self._member, "centre": self._centre}
        return {**arrays, **parameters}

    def config(self) -> JsonDict:
        """The method and its settings."""
        return {
            "head": self.name,
            "kind": self.kind,
            "labels": list(self.labels),
            "method": self.method,
            "settings": self.settings,
        }

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        import torch

        part: Any = registry.get("adapter", str(config["method"]))
        if not issubclass(part, RelationAdapter):
            raise ValueError(f"method {part.__name__!r} is not a relation network")  # noqa: TRY004
        self.method, self.settings = part.method, dict(config["settings"])
        self._examples, self._member, self._centre = (
            np.asarray(state[name], np.float32) for name in ("examples", "member", "centre")
        )
        n, width = len(self._examples), len(self._centre)
        if self._member.shape != (n, len(self.labels)) or self._centre.ndim != 1:
            raise ValueError(f"{n} examples and rows of labels {self._member.shape}")
        if self._examples.shape != (n, sequence_length(self.kind) * width) or not n:
            raise ValueError(f"examples {self._examples.shape} of frames with {width} features")
        self.network = part.checked_network(width, self.settings)
        prefix = "network."
        saved = {k.removeprefix(prefix): a for k, a in state.items() if k.startswith(prefix)}
        shapes = {name: tuple(t.shape) for name, t in self.network.state_dict().items()}
        if shapes != {name: array.shape for name, array in saved.items()}:
            raise ValueError("parameters of another network")
        self.network.load_state_dict({k: torch.from_numpy(a.copy()) for k, a in saved.items()})
