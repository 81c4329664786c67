"""A published row from weights to table: TC-CLIP, EZ-CLIP, FROSTER, with random weights.

    python benchmarks/released.py [--method tc-clip ez-clip froster] [--clips 1] [--labels 4]

The true shapes: a ViT-B/16 of 224 pixels, the checkpoints in the layouts of their originals, and
OpenAI's CLIP in a stand-in for the model hub on the loopback. ``vlar eval evals/published/*.toml``
runs as it would with the real files, on the first labels of UCF101 and a few made clips. A line
states its seconds, the largest memory, the size of the checkpoint and what the hub was asked for.
First the card with its hashes must refuse the made lists. The figures of accuracy mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import fake_datasets
from tests.unit.encoders.hub_stand_in import serving
from vlar.encoders.base import load_encoder
from vlar.language.bank import load_bank
from vlar.methods.ez_clip.adapter import EzClip
from vlar.methods.froster.adapter import Froster
from vlar.methods.tc_clip.adapter import TcClip

ROOT = Path(__file__).resolve().parents[1]
ARCH = "ViT-B-16-quickgelu"
State = dict[str, Tensor]


def own_of(method: Any, encoder: Any) -> State:
    """The state of an untrained adapter."""
    return {name: torch.tensor(a) for name, a in method.attach(encoder).state_dict().items()}


def tc_clip(encoder: Any, clip: State) -> dict[str, Any]:
    """Tensors by the names of ``vlar/methods/tc_clip/checkpoint.py``."""
    found: State = {}
    for name, tensor in clip.items():
        inner = name.removeprefix("visual.")
        if name.startswith("visual.") and ".attn.in_proj_" in name:
            start, kind = inner.split(".attn.in_proj_")
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                found[f"image_encoder.{start}.attn.{part}_proj.{kind}"] = rows.clone()
        elif name.startswith("visual."):
            found[f"image_encoder.{inner}"] = tensor
        elif name != "token_embedding.weight":
            found[f"text_encoder.{name}"] = tensor
    own = own_of(TcClip, encoder)
    levels = sorted({int(name.split(".")[1]) for name in own if name.startswith("prompting.")})
    for name, tensor in own.items():
        kind, _, rest = name.partition(".")
        number, _, inner = rest.partition(".")
        if kind == "prompts":
            found["prompt_learner.ctx"] = tensor
        elif kind == "bias_tables":
            block = f"image_encoder.transformer.resblocks.{rest}"
            found[f"{block}.attn.local_global_bias_table"] = tensor
        else:
            layer = levels.index(int(number))
            found[f"text_encoder.prompt_generation_layer.{layer}.{inner}"] = tensor
    return {"model": {f"module.{name}": tensor for name, tensor in found.items()}}


def ez_clip(encoder: Any, clip: State) -> dict[str, Any]:
    """Tensors by the names of ``vlar/methods/ez_clip/checkpoint.py``, in half precision."""
    found = dict(clip)
    towers = {"visual": "visual.", "time": "visual.", "text": ""}
    for name, tensor in own_of(EzClip, encoder).items():
        kind, _, rest = name.partition("_adapters.")
        if name == "temporal_prompts":
            found["visual.transformer.T_prompt_embeddings"] = tensor
        elif rest:
            block, layer, what = rest.split(".")
            part = "T_Adapter" if kind == "time" else "Adapter"
            fc = "D_fc1" if layer == "down" else "D_fc2"
            found[f"{towers[kind]}transformer.resblocks.{block}.{part}.{fc}.{what}"] = tensor
    return {"model_state_dict": {name: tensor.half() for name, tensor in found.items()}}


def froster(encoder: Any, clip: State) -> dict[str, Any]:
    """Tensors by the names of ``vlar/methods/froster/checkpoint.py``."""
    found = {f"model.{name}": tensor for name, tensor in clip.items()}
    found |= {f"raw_model.{name}": tensor for name, tensor in clip.items()}
    for name, tensor in own_of(Froster, encoder).items():
        if name.startswith("projectors."):
            _, tower, layer, what = name.split(".")
            place = 0 if layer == "fc1" else 2
            found[f"projector_{tower[0]}.{place}.{what}"] = tensor
    return {"model_state": found}


WRITERS: dict[str, Callable[[Any, State], dict[str, Any]]] = {
    "tc-clip": tc_clip, "ez-clip": ez_clip, "froster": froster,
}  # fmt: skip


def eval_of(card: Path, folder: Path, model: str, hub: str) -> tuple[int, str, float, float]:
    """Exit code, output, seconds and GB of ``vlar eval`` of a card."""
    words = [sys.executable, "-c", "from vlar.apps.cli import main; main()", "eval", str(card)]
    words += ["--data", str(folder / "sets")]
    words += ["--model", model, "--no-controls", "--out", str(folder / "ours.json")]
    variables = os.environ | {
        **{"HF_ENDPOINT": hub, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "0"},
        **{"VLAR_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)},
    }
    began = time.monotonic()
    with (folder / "output").open("w+") as output:
        child = subprocess.Popen(words, env=variables, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds, memory = time.monotonic() - began, round(used.ru_maxrss * 1024 / 1e9, 2)
        output.seek(0)
        return child.returncode, output.read(), seconds, memory


def data_of(folder: Path, labels: int, clips: int) -> None:
    """UCF101's layout: the lists name the first labels, and the first of these have clips."""
    names = list(load_bank("ucf101").texts)[:labels]
    fake_datasets.ucf101(folder, [name.title().replace(" ", "") for name in names], 3, clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--method", nargs="*", default=list(WRITERS), choices=WRITERS)
    parser.add_argument("--clips", type=int, default=1, help="of each label")
    parser.add_argument("--labels", type=int, default=4)
    asked = parser.parse_args()
    torch.manual_seed(0)
    encoder: Any = load_encoder(f"openclip:{ARCH}?random_init=true")
    clip = {name: tensor.detach() for name, tensor in encoder.towers.model.named_parameters()}
    with tempfile.TemporaryDirectory() as name:
        folder, repository = Path(name), Path(name) / "repository"
        repository.mkdir()
        save_file(clip, repository / "open_clip_model.safetensors")
        data_of(folder / "sets" / "UCF101", asked.labels, asked.clips)
        for method in asked.method:
            file = folder / f"{method}.pth"
            torch.save(WRITERS[method](encoder, clip), file)
            with serving(repository) as hub:
                card = ROOT / "evals" / "published" / f"{method}_zero-shot_ucf101.toml"
                code, text, *_ = eval_of(card, folder, f"{method}:{file}", hub.url)
                assert code, text
                assert "SHA-256" in text, text
                hub.asked.clear()
                made = folder / card.name
                made.write_text(without_hashes(card))
                code, text, seconds, memory = eval_of(made, folder, f"{method}:{file}", hub.url)
                assert code == 0, text
                row = {
                    **{"method": method, "seconds": round(seconds, 1), "memory_gb": memory},
                    **{"file_mb": round(file.stat().st_size / 1e6), "asked": hub.asked},
                }
            print(text, json.dumps(row), sep="\n", flush=True)
            file.unlink()


def without_hashes(card: Path) -> str:
    """A card for made lists: no hashes, no counts, the paths of its lists absolute."""
    text = card.read_text("utf-8")
    for table in ("hashes", "expected"):
        head, mark, rest = text.partition(f"[{table}]\n")
        text = head + (rest[rest.index("\n[") + 1 :] if mark else "")
    return text.replace('"../lists/', f'"{ROOT}/evals/lists/')


if __name__ == "__main__":
    main()
