"""Is the difference more than luck? Paired tests, intervals, factorial effects and an audit of tables, numpy only."""

from seglab.stats._audit import Audit, audit
from seglab.stats._comparison import ComparisonTable, compare
from seglab.stats._difference import Difference, detectable, holm, paired_difference
from seglab.stats._factorial import Effect, Factorial, factorial
from seglab.stats._paired import ComparisonRow
from seglab.stats._rules import Finding
from seglab.stats._scores import list_definitions, per_image, score
from seglab.stats._seeds import SeedDifference, hierarchical_difference

__all__ = [
    "Audit",
    "ComparisonRow",
    "ComparisonTable",
    "Difference",
    "Effect",
    "Factorial",
    "Finding",
    "SeedDifference",
    "audit",
    "compare",
    "detectable",
    "factorial",
    "hierarchical_difference",
    "holm",
    "list_definitions",
    "paired_difference",
    "per_image",
    "score",
]
