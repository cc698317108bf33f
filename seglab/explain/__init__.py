"""Where a model looks and where it errs, as arrays: attention maps, error maps, and pictures of them.

Drawing lies in `seglab.palette`; its functions are here too.
"""

from seglab.explain._maps import Recorder, StageAttention, agreement_map, attention_maps, error_map
from seglab.palette import BLUE, CORRECT, EXTRA, MISSED, NAVY, ORANGE, Colour, colour_map, heat, outline, overlay

__all__ = [
    "BLUE", "CORRECT", "EXTRA", "MISSED", "NAVY", "ORANGE", "Colour", "Recorder", "StageAttention", "agreement_map",
    "attention_maps", "colour_map", "error_map", "heat", "outline", "overlay",
]  # fmt: skip
