"""Small pictures, small models and one thread: what most tests need."""

from collections.abc import Callable, Iterator

import pytest
import torch
from small_pictures import Pictures, discs

from seglab.models import Segmenter, build_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Nobody pulls the plug during a test, and a busy disk takes half a second for each file.

    Nothing stays in the user's home either.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGLAB_CACHE", "off")
        patch.setattr("os.fsync", lambda handle: None)
        yield


@pytest.fixture
def pictures() -> Callable[..., Pictures]:
    return discs


@pytest.fixture
def small_unet() -> Callable[..., Segmenter]:
    """Builder of the narrowest U-Net, with the same weights each time."""

    def build(num_classes: int = 1, **knobs: object) -> Segmenter:
        torch.manual_seed(0)
        return build_model("unet", num_classes, width=4, **knobs)

    return build
