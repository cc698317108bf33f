"""The end of a lesson: what a paper says, and whether it holds."""

from seglab.teach._publish import publish

__all__ = ["VERDICTS", "claim"]

VERDICTS = {True: "holds", False: "does not hold", None: "cannot be decided from the paper"}


def claim(text: str, holds: bool | None, *, source: str, because: str, would_decide: str) -> None:
    """Show a claim with its verdict.

    Args:
        text: What is claimed, in own words and with the printed numbers.
        holds: True, False, or None if the paper does not say enough; computed from the printed numbers.
        source: Paper and place.
        because: The check and its result.
        would_decide: What would have to be known to be sure.

    Raises:
        ValueError: If a text is empty.

    Example:
        >>> claim("2 + 2 = 5", 2 + 2 == 5, source="A, Table 1", because="It is 4.", would_decide="Nothing more.")
        Claim: 2 + 2 = 5 (A, Table 1)
        Verdict: does not hold. It is 4.
        What would decide it: Nothing more.
    """
    for name, value in {"text": text, "source": source, "because": because, "would_decide": would_decide}.items():
        if not value.strip():
            raise ValueError(f"{name} of a claim must say something; got an empty text.")
    verdict = VERDICTS[None if holds is None else bool(holds)]
    parts = {
        "Claim": f"{text} ({source})",
        "Verdict": f"{verdict}. {because}",
        "What would decide it": would_decide,
    }
    publish({
        "text/markdown": "\n>\n".join(f"> **{name}:** {value}" for name, value in parts.items()),
        "text/plain": "\n".join(f"{name}: {value}" for name, value in parts.items()),
    })  # fmt: skip
