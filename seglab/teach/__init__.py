"""What a lesson needs: the same start everywhere, figures a test can read, questions, exercises and numbers that stay.

A notebook test compares text and skips pictures. So every figure of a lesson goes through `show` or `explore`, which
publish the picture together with a text that says what is in it: a changed curve or map changes the text.

In Jupyter `explore` and `predict` are live. With SEGLAB_WIDGETS=static in the environment they publish figures and
text instead, which is how lessons are stored: a reader sees them before anything runs, and a test can compare them.
"""

from seglab.teach._card import card_problems
from seglab.teach._check import check, list_exercises
from seglab.teach._claim import claim
from seglab.teach._copies import copies
from seglab.teach._explore import explore
from seglab.teach._figures import show
from seglab.teach._full_size import full_size
from seglab.teach._predict import predict
from seglab.teach._start import band, setup

__all__ = [
    "band", "card_problems", "check", "claim", "copies", "explore", "full_size", "list_exercises", "predict", "setup",
    "show",
]  # fmt: skip
