from pathlib import Path

import pytest
from bad_case import save_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A small whole checkpoint."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="session")
def tiny2(tmp_path_factory) -> Path:
    """Another one, of the same kind."""
    return save_tiny(tmp_path_factory.mktemp("models") / "second.safetensors")
