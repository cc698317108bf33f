"""Whose event the page is answering, and which models that visitor has besides those that all have."""

from collections.abc import Iterator, Mapping, MutableMapping

from seglab.inference import Predictor

__all__ = ["VisitorModels", "visitor"]

MOST_VISITORS, MOST_MODELS = 64, 8  # whose models are kept, and how many of each; then the oldest goes


def visitor() -> str:
    """The session that the present event belongs to; empty outside of any event.

    Example:
        >>> visitor()
        ''
    """
    from gradio.context import LocalContext  # a heavy module

    request = LocalContext.request.get(None)
    return str(getattr(request, "session_hash", None) or "")


class VisitorModels(MutableMapping[str, Predictor]):
    """Models by name: those that every visitor has, and those of the visitor whose event is being answered.

    Args:
        common: What every visitor has.

    Example:
        >>> models = VisitorModels({})
        >>> len(models)
        0
    """

    def __init__(self, common: Mapping[str, Predictor]) -> None:
        self._common = dict(common)
        self._own: dict[str, dict[str, Predictor]] = {}

    def __getitem__(self, name: str) -> Predictor:
        return self._mine()[name] if name in self._mine() else self._common[name]

    def __setitem__(self, name: str, predictor: Predictor) -> None:
        """Add a model for this visitor only; outside of any event, for all."""
        who = visitor()
        if not who:
            self._common[name] = predictor
            return
        mine = self._own.pop(who, {})
        self._own[who] = mine | {name: predictor}  # the latest visitor last
        for names, most in ((self._own[who], MOST_MODELS), (self._own, MOST_VISITORS)):
            while len(names) > most:
                del names[next(iter(names))]

    def __delitem__(self, name: str) -> None:
        del self._own[visitor()][name]

    def __iter__(self) -> Iterator[str]:
        yield from list(self._common)
        yield from (name for name in list(self._mine()) if name not in self._common)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def forget(self, who: str) -> None:
        """A visitor has gone."""
        self._own.pop(who, None)

    def _mine(self) -> dict[str, Predictor]:
        return self._own.get(visitor(), {})
