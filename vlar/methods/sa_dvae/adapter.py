"""SA-DVAE behind the encoder contract: on the features of any encoder, labels unseen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from vlar.methods.aligned.text_map_adapter import Integers, MappedAdapter, Solved
from vlar.methods.sa_dvae.training import SaDvaeConfig, SaDvaeNetwork, train
from vlar.registry import register
from vlar.training.frame_inputs import directions
from vlar.types import Float32, Float64

_SAMPLES = 500  # of a label
_ROUNDS = 50


@register("adapter", "sa-dvae", status="in the spirit")
class SaDvae(MappedAdapter):
    """Clips and texts share a latent space; what no text describes has a part of its own.

    Li et al., "SA-DVAE: improving zero-shot skeleton-based action recognition by disentangled
    variational autoencoders", ECCV 2024. A clip's vector is the mean of its described part, a
    text's vector that of its part, each less the mean over the training set. ``classifier`` is the
    paper's: a linear classifier of samples of the labels.

    Reference: Li et al., "SA-DVAE: improving zero-shot skeleton-based action recognition by
    disentangled variational autoencoders", ECCV 2024.
    Example: ``vlar adapt skeletons/ --model skeleton --out mine --method sa-dvae``.

    Attributes:
        network: The two autoencoders; its weights are what is trained.
        config: The settings.
    """

    config_type = SaDvaeConfig
    method = "sa-dvae"
    config: SaDvaeConfig
    network: SaDvaeNetwork

    def _width(self) -> int:
        return self.config.latent

    def _build(self) -> None:
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.network = SaDvaeNetwork(
                config.components,
                config.latent,
                config.irrelevant,
                self.text_width,
                positive=config.positive,
            )
        sizes = {
            "axes": (self.clip_width, config.components),
            "clip_centre": (self.clip_width,),
            "part_centre": (config.latent,),
            "text_centre": (config.latent,),
        }
        for name, size in sizes.items():
            self.network.register_buffer(name, torch.zeros(size))
        self.network.eval().requires_grad_(False)

    @property
    def module(self) -> nn.Module:
        """The autoencoders, the directions that clips are read along, and the means."""
        return self.network

    def _fit(self, x: Float64, z: Float64, columns: Integers) -> Solved:
        mean, axes = directions(x, self.config.components)
        self._set("clip_centre", mean)
        self._set("axes", axes)
        s = torch.from_numpy(self._read(x.astype(np.float32)))
        t, labels = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(columns)
        self.network.requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            losses = train(self.network, s, t, labels, self.config)
        self.network.requires_grad_(False)
        with torch.no_grad():
            parts, texts = self.network.shared_mean(s), self.network.text_mean(t)
        counts = np.bincount(columns, minlength=len(z))
        weights = 1.0 / counts[columns]
        self._set("part_centre", weights @ parts.double().numpy() / weights.sum())
        self._set("text_centre", texts.double().numpy().mean(axis=0))
        return Solved(tuple(losses))

    def _set(self, name: str, array: Float64) -> None:
        self.network.get_buffer(name).copy_(torch.from_numpy(array))

    def _read(self, x: Float32) -> Float32:
        """Clips (n, d) along the directions: (n, S)."""
        mean, axes = (self.network.get_buffer(name).numpy() for name in ("clip_centre", "axes"))
        return ((x - mean) @ axes).astype(np.float32)

    def _clips(self, x: Float32) -> Float32:
        return self.described(x)

    def described(self, x: Float32) -> Float32:
        """Clips (n, d) of ``clip_vectors`` to the centred means (n, R) of their described parts."""
        centre = self.network.get_buffer("part_centre").numpy()
        return self._apply("shared_mean", self._read(x)) - centre

    def irrelevant(self, x: Float32) -> Float32:
        """Clips (n, d) of ``clip_vectors`` to the means (n, I) of their other parts."""
        return self._apply("other_mean", self._read(x))

    def _words(self, z: Float32) -> Float32:
        return self._apply("text_mean", z) - self.network.get_buffer("text_centre").numpy()

    def _apply(self, name: str, rows: Float32) -> Float32:
        with torch.inference_mode():
            return self.network.get_submodule(name)(torch.from_numpy(rows)).numpy()

    def classifier(self, labels: Sequence[str], seed: int = 0) -> tuple[Float64, Float64]:
        """The paper's classifier of labels without examples: weights (R, C) and biases (C,).

        It is a logistic regression of 500 centred samples a label of the labels' text
        distributions, and is applied to ``described`` parts.

        Args:
            labels: C labels.
            seed: Seed of the samples.
        """
        texts = torch.from_numpy(self.label_vectors(labels))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            own_texts = self.network.texts(texts.repeat_interleave(_SAMPLES, dim=0))
            samples = own_texts.draw() - self.network.get_buffer("text_centre")
        target = torch.arange(len(labels)).repeat_interleave(_SAMPLES)
        linear = nn.Linear(self.config.latent, len(labels))
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        solver = torch.optim.LBFGS(linear.parameters(), max_iter=_ROUNDS)

        def closure() -> torch.Tensor:
            solver.zero_grad()
            loss = nn.functional.cross_entropy(linear(samples), target)
            loss = loss + 1e-4 * linear.weight.square().sum()
            loss.backward()
            return loss

        solver.step(closure)
        weight, bias = linear.weight.detach(), linear.bias.detach()
        return weight.T.double().numpy(), bias.double().numpy()
