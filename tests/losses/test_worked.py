"""Every loss on two pictures of a few pixels, worked by hand to six decimals.

One channel: p = 3/4, 1/2, 1/4 and 9/10, truth 1, 0, 1 and unknown. The log losses of the true classes are .287682,
.693147 and 1.386294; tp = 1, fp = 1/2, fn = 1.

Three channels: p = (1/2, 1/4, 1/4), (1/5, 1/5, 3/5) and unknown, truth 0 and 2. The log losses are .693147 and .510826;
tp = 1/2, 0, 3/5, fp = 1/5, 9/20, 1/4, fn = 1/2, 0, 2/5 of the classes 0, 1, 2.
"""

import pytest
import torch

from seglab import losses

from .batches import NAMES

ONE = torch.tensor([[[[0.75, 0.5, 0.25, 0.9]]]], dtype=torch.float64).logit(), torch.tensor([[[1, 0, 1, 255]]])
THREE = (
    torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]], dtype=torch.float64).log().T[None, :, None],
    torch.tensor([[[0, 2, 255]]]),
)
WORKED = {  # name: knobs, value for one channel, value for three
    # (.472367 + .778801) / 2 + .606531;  .606531 + .548812: with the default eps of 1e-6 the last digit may differ
    "adaptive_exponential": ({"eps": 0}, 1.232115, 1.155343),
    # (.287682 + .693147 + 1.386294) / 3;  sigmoids (1/3, 1/5, 1/5) and (1/6, 1/6, 3/8): (1.544899 + 1.345472) / 6
    "bce": ({}, 0.789041, 0.481728),
    "bce_dice": ({}, 1.122374, 0.747620),
    "ce": ({}, 0.789041, 0.601986),
    "ce_dice": ({}, 0.652329, 0.501158),
    # .5 * .789041 + .25 * .333333 + 2 * .361702;  .5 * .601986 + .25 * .265892 + 2 * .249121
    "compound": ({"w_bce": 0.5, "w_dice": 0.25, "w_tversky": 2}, 1.201258, 0.865709),
    # 1 - 3 / 4.5;  (.259259 + .310345 + .228070) / 3
    "dice": ({}, 0.333333, 0.265892),
    "dice_focal": ({}, 0.657020, 0.393401),
    # (e^-.75 + e^-.5 + e^-.25) / 3;  (e^-.5 + e^-.6) / 2
    "exponential": ({}, 0.619233, 0.577671),
    # (.25^2 .287682 + .5^2 .693147 + .75^2 1.386294) / 3;  (.5^2 .693147 + .4^2 .510826) / 2
    "focal": ({}, 0.323686, 0.127509),
    # .361702^(3/4);  (.290780^(3/4) + .212598^(3/4) + .243986^(3/4)) / 3
    "focal_tversky": ({}, 0.466405, 0.352075),
    # w = 49/9, 19/9, 49/9: .813629 + 1 - (49/9 + 1) / (98/9 + 19/18 + 1);  w = 14/9, 49/9: .551342 + .494739
    "structure": ({"kernel": 3}, 1.315775, 1.046081),
    # 1 - 1.5 / 2.35;  (1 - 1 / 1.41 + 1 - .5 / .635 + 1 - 1.1 / 1.455) / 3
    "tversky": ({"alpha": 0.3, "beta": 0.7}, 0.361702, 0.249121),
}


@pytest.mark.parametrize("name", NAMES)
def test_loss_worked_by_hand(name: str) -> None:
    knobs, one, three = WORKED[name]
    assert getattr(losses, name)(*ONE, **knobs).item() == pytest.approx(one, abs=1.5e-6)
    assert getattr(losses, name)(*THREE, **knobs).item() == pytest.approx(three, abs=1.5e-6)
