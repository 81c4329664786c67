"""Model folders on the hub, by huggingface-hub (extra ``clip``): fetched, uploaded, described.

Nothing of a repository is executed: a folder is JSON and arrays, compared with the hashes that the
hub and the folder state (``vlar.encoders.download``, ``vlar.model.folder``).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlar.encoders import download
from vlar.encoders.hub_folder import PREFIX, HubFolder
from vlar.encoders.hub_source import Hub
from vlar.errors import ModelError, UsageError
from vlar.version import is_installed, pip_install

_TASKS = {"video": "video-classification", "audio": "audio-classification"}
_FREE = {"apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause"}


def hub_name(name: str, revision: str | None = None) -> str:
    """Name of a folder or a repository as ``vlar.load`` takes it.

    >>> hub_name("me/forklifts", "v1")
    'hf-hub:me/forklifts@v1'
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name))
    return str(HubFolder(name.removeprefix(PREFIX), revision)) if "/" in name else name


def fetch_missing(spec: object) -> None:
    """Fetch a model folder of the hub that is not on this disk; any other name is left alone.

    Raises:
        ModelError: see ``fetch``.
    """
    if isinstance(spec, str) and spec.startswith(PREFIX) and HubFolder.parse(spec).path() is None:
        fetch(spec)


def fetch(name: str) -> tuple[Path, str]:
    """Fetch a model folder of the hub, or what changed of it since.

    Args:
        name: ``hf-hub:ORG/NAME``, with ``@REVISION`` for a branch, a tag or a commit.

    Returns:
        The folder, and its commit.

    Raises:
        UsageError: huggingface-hub is not installed, or the name is malformed.
        ModelError: the hub cannot be reached, refuses or lies about a hash; or it is not a model.
    """
    from vlar.model.folder import MANIFEST, read_manifest

    folder = HubFolder.parse(name)
    _require_client()
    source = Hub(
        folder.repository,
        folder.revision,
        weights=((MANIFEST,),),
        settings=("*.safetensors", "*.md"),
    )
    (listing,) = download.fetch(name, [source], root=folder.root)
    read_manifest(listing.folder)
    folder.pointer.parent.mkdir(parents=True, exist_ok=True)
    folder.pointer.write_text(listing.commit, encoding="ascii")
    return listing.folder, listing.commit


def _require_client() -> None:
    if not is_installed("huggingface_hub"):
        raise UsageError(f"models of the hub need huggingface-hub; run: {pip_install('clip')}")


def save_pretrained(
    model: Any,
    save_directory: str | Path,
    *,
    repo_id: str | None = None,
    push_to_hub: bool = False,
    **options: Any,
) -> Path:
    """Save as a folder, and upload it where asked; ``save`` by the name of the hub's mixin.

    Args:
        model: The model.
        save_directory: The folder; a model that is there is replaced.
        repo_id: ``ORG/NAME`` of the upload; None for the folder's name.
        push_to_hub: Whether to upload it.
        options: As ``push_to_hub``.
    """
    folder = model.save(save_directory, replace=True)
    if push_to_hub:
        upload(folder, repo_id or folder.name, model.modality, **options)
    return folder


def push_to_hub(model: Any, repo_id: str, **options: Any) -> str:
    """Upload the model as a repository of the hub, with its card as README.

    Args:
        model: The model.
        repo_id: ``ORG/NAME``.
        options: ``private``, ``token``, ``branch``, ``commit_message`` and ``create_pr``.

    Returns:
        Address of the commit.

    Raises:
        ModelError: the hub cannot be reached or refuses.
    """
    with tempfile.TemporaryDirectory(prefix="vlar-hub-") as folder:
        path = model.save(Path(folder, repo_id.rpartition("/")[2]))
        return upload(path, repo_id, model.modality, **options)


def upload(
    folder: Path,
    repo_id: str,
    modality: str = "video",
    *,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    commit_message: str = "Upload a model of vlar",
    create_pr: bool = False,
) -> str:
    """Upload a saved model; a README that the repository has is replaced by the card.

    Args:
        folder: The model folder.
        repo_id: ``ORG/NAME``.
        modality: Sensor of the model, by which the hub names its task.
        private: Whether a new repository is private; None for the owner's default.
        token: Token of the hub; None for that of ``hf auth login``.
        branch: It must exist; None for the main one.
        commit_message: First line of the commit.
        create_pr: Whether to open a pull request instead.

    Returns:
        Address of the commit.

    Raises:
        UsageError: huggingface-hub is not installed.
        ModelError: the hub cannot be reached or refuses, or the folder is not a model.
    """
    _require_client()
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from vlar.encoders.download import network_errors
    from vlar.model.card import FILE, folder_card
    from vlar.model.folder import MANIFEST, read_manifest

    manifest = read_manifest(folder)[0]
    words = readme(manifest.model_dump(), folder_card(folder, manifest.model_dump()), modality)
    files: dict[str, str | bytes] = {"README.md": words.encode("utf-8")}
    files |= {name: str(folder / name) for name in (*manifest.files, FILE, MANIFEST)}
    api = HfApi(token=token)
    try:
        repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = api.create_commit(
            repository,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
        )
    except (HfHubHTTPError, OSError, ValueError, *network_errors()) as error:
        why = " ".join(str(error).split())[:200]
        fix = "try 'hf auth login'"
        if getattr(error, "response", None) is None and isinstance(error, network_errors()):
            why, fix = f"the hub cannot be reached: {why}", "try again with a network"
        raise ModelError(f"{repo_id} was not uploaded ({why}); {fix}") from error
    return str(commit.pr_url or commit.commit_url)


def readme(manifest: Mapping[str, Any], card: str, modality: str) -> str:
    """The card with the facts that the hub reads: task, licence, and metrics in ``model-index``.

    Args:
        manifest: Content of ``vlar.json``.
        card: Text of the card.
        modality: Sensor of the model.
    """
    from huggingface_hub import EvalResult, ModelCardData

    from vlar.model.adapt_report import AdaptReport

    report = AdaptReport.restored(manifest["report"]) if manifest.get("report") else None
    licence = str(manifest["encoder"]["licence"])
    terms = [part.split()[0].lower() for part in re.split("[,;]", licence) if part.split()]
    is_free = bool(terms) and _FREE.issuperset(terms)
    task = _TASKS.get(modality)
    results = None
    if report is not None and report.held_out is not None:
        kind, value = "accuracy", round(report.held_out, 4)
        source = report.source or "support set"
        results = [
            EvalResult(
                task_type=task or "other",
                dataset_type="custom",
                metric_type=kind,
                dataset_name=f"held-out examples of {source}",
                metric_value=value,
                metric_name="accuracy on held-out examples, which chose the method",
            )
        ]
    facts = ModelCardData(
        library_name="vlar",
        pipeline_tag=task,
        license=terms[0] if is_free else "other",
        license_name=None if is_free else licence or "not stated",
        tags=["vlar", "action-recognition", modality],
        model_name=card.partition("\n")[0].removeprefix("# ") if results else None,
        eval_results=results,
    )
    return f"---\n{facts.to_yaml()}\n---\n\n{card}"
