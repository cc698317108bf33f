"""A model that needs no training: a pixel is object where one colour is strong."""

import torch
from torch import nn


class Colour(nn.Module):
    """Logits (N, 1, H, W) of pictures (N, 3, H, W) in [0, 1].

    Args:
        channel: 0 red, 1 green, 2 blue.
        beyond_green: Where it is stronger than green, rather than above one half; finds things on grey pictures.
    """

    num_classes = 1

    def __init__(self, channel: int = 0, *, beyond_green: bool = False) -> None:
        super().__init__()
        self.channel, self.beyond_green = channel, beyond_green
        self.scale = nn.Parameter(torch.tensor(24.0 if beyond_green else 12.0))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        level = batch[:, 1:2] + 0.08 if self.beyond_green else 0.5
        return (batch[:, self.channel : self.channel + 1] - level) * self.scale
