"""What everybody agrees on: masks from logits, and names with a hint."""

import pytest
import torch

from seglab.contract import IGNORE_INDEX, require_name, to_mask


def test_one_map_is_the_object_above_zero():
    logits = torch.tensor([[[[-0.1, 0.0, 0.1]]]])
    assert to_mask(logits).tolist() == [[[0, 0, 1]]]
    assert to_mask(logits).dtype == torch.int64


def test_several_maps_give_the_largest():
    logits = torch.tensor([[[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]])
    assert to_mask(logits).tolist() == [[[0, 1, 2]]]


def test_two_maps_equal_the_one_map_of_their_difference():
    logits = torch.randn(2, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_mask(logits), to_mask(logits[:, 1:] - logits[:, :1]))


def test_unknown_is_the_value_of_voc():
    assert IGNORE_INDEX == 255


def test_known_name_passes():
    require_name("model", "unet", iter(["segnet", "unet"]))


def test_unknown_name_lists_the_choices_in_order_and_the_closest():
    with pytest.raises(ValueError, match=r"^model must be one of segnet, unet; got 'unit'\. Did you mean 'unet'\?$"):
        require_name("model", "unit", ["unet", "segnet"])


@pytest.mark.parametrize("name", ["zzz", "", 3, None, ["zzz"]])
def test_name_unlike_any_gets_no_hint(name):
    with pytest.raises(ValueError, match=r"^model must be one of segnet, unet; got .*\.$") as caught:
        require_name("model", name, ["unet", "segnet"])
    assert "Did you mean" not in str(caught.value)
