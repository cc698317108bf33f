"""Building blocks that two or more models share: convolutions, attention, and the decoder of the U-Net family.

Every gate passes through an `AttentionMap`, so that an explanation can find it by its type alone.
"""

from seglab.blocks._cbam import (
    CBAM,
    CBAM_PLACES,
    CBAM_REDUCTION,
    AttentionMap,
    CBAMPlacement,
    ChannelAttention,
    SpatialAttention,
)
from seglab.blocks._convolution import ConvBlock
from seglab.blocks._decoder import UPSAMPLING, DecoderLevel, LoneSkip, SkipBuilder, UNetDecoder

__all__ = [
    "CBAM",
    "CBAM_PLACES",
    "CBAM_REDUCTION",
    "UPSAMPLING",
    "AttentionMap",
    "CBAMPlacement",
    "ChannelAttention",
    "ConvBlock",
    "DecoderLevel",
    "LoneSkip",
    "SkipBuilder",
    "SpatialAttention",
    "UNetDecoder",
]
