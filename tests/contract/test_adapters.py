"""Every registered adapter keeps the contract that ``vlar.testing`` checks, on a tiny CLIP."""

from __future__ import annotations

import pytest

from tests.unit.encoders.clip import models
from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.testing import check_adapter


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return load_encoder(f"openclip:{folder}")


@pytest.mark.parametrize("name", registry.names("adapter"))
def test_it_keeps_the_contract(name: str, encoder: Encoder):
    part = registry.get("adapter", name)
    check_adapter(name, encoder=encoder if part.contract_base == "clip" else None)
