"""Videos as tests of libraries have them."""

from tests.unit.library.conftest import clips

__all__ = ["clips"]
