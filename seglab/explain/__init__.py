"""Where a model looks and where it errs, as arrays, and whether where it looks explains what it does.

Drawing lies in `seglab.palette`; its functions are here too. `faithfulness` puts attention maps to the test.
"""

from seglab.explain._ablation import GateAblation, GateChange, gate_ablation
from seglab.explain._curves import CurveGap, RemovalCurves, removal_curves
from seglab.explain._faithfulness import Faithfulness, faithfulness
from seglab.explain._maps import Recorder, StageAttention, agreement_map, attention_maps, error_map
from seglab.explain._mass import Mass, StageMass, attention_mass, mass_inside
from seglab.explain._randomisation import GateSanity, Randomisation, rank_correlation, weight_randomisation
from seglab.explain._removal import Curve, deletion_curve, insertion_curve
from seglab.palette import BLUE, CORRECT, EXTRA, MISSED, NAVY, ORANGE, Colour, colour_map, heat, outline, overlay

__all__ = [
    "BLUE", "CORRECT", "EXTRA", "MISSED", "NAVY", "ORANGE", "Colour", "Curve", "CurveGap", "Faithfulness",
    "GateAblation", "GateChange", "GateSanity", "Mass", "Randomisation", "Recorder", "RemovalCurves", "StageAttention",
    "StageMass", "agreement_map", "attention_maps", "attention_mass", "colour_map", "deletion_curve", "error_map",
    "faithfulness", "gate_ablation", "heat", "insertion_curve", "mass_inside", "outline", "overlay",
    "rank_correlation", "removal_curves", "weight_randomisation",
]  # fmt: skip
