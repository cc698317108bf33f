"""Disturb every picture more and more, and see how each model's Dice falls, all models on the same pictures.

The curve is the mean Dice per picture against the severity; its area is one number per model and disturbance, and the
models' areas are compared picture by picture. The counts of every picture are kept, so every later question is
arithmetic.
"""

from seglab.robustness._result import Area, AreaDifference, Robustness, Sweep
from seglab.robustness._sweeps import robustness

__all__ = ["Area", "AreaDifference", "Robustness", "Sweep", "robustness"]
