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
from seglab.blocks._convolution import ConvBlock, ConvSiLU
from seglab.blocks._decoder import UPSAMPLING, DecoderLevel, LoneSkip, SkipBuilder, UNetDecoder
from seglab.blocks._gates import (
    BOUNDARIES,
    AttentionGate,
    BoundaryMap,
    BoundaryReverseAttention,
    ReverseAttention,
    ReverseMap,
    foreground,
)
from seglab.blocks._scales import SPPF, C2f

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
    "ConvSiLU",
    "BOUNDARIES",
    "AttentionGate",
    "BoundaryMap",
    "BoundaryReverseAttention",
    "ReverseAttention",
    "ReverseMap",
    "foreground",
    "SPPF",
    "C2f",
]
