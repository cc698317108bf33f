"""Every sentence that a visitor of the page reads, by language and key.

A language is a file beside this one, and one more for the Train tab; all have the same keys with the same placeholders.
The command line and the notebooks speak English.
"""

from collections.abc import Mapping
from types import MappingProxyType

from seglab.texts import _de, _en, _train_de, _train_en, _train_zh, _zh

__all__ = ["ENGLISH", "LANGUAGES", "Texts"]


class Texts:
    """The texts of one language.

    Args:
        language: Its code, as in `<html lang>`.
        name: What its speakers call it.
        entries: Text by key; `{NAME}` stands for a value.

    Attributes:
        language: Its code.
        name: What its speakers call it.
        entries: Text by key, read only.

    Example:
        >>> LANGUAGES["de"]("tab.compare")
        'Vergleichen'
    """

    def __init__(self, language: str, name: str, entries: Mapping[str, str]) -> None:
        self.language, self.name = language, name
        self.entries = MappingProxyType(dict(entries))

    def __call__(self, key: str, /, **values: object) -> str:
        """The text of a key, with its placeholders filled.

        Args:
            key: Its name.
            values: By placeholder.

        Raises:
            KeyError: If there is no such text, or a placeholder has no value.
        """
        return self.entries[key].format(**values)


LANGUAGES: Mapping[str, Texts] = MappingProxyType(
    {
        "en": Texts("en", "English", _en.TEXTS | _train_en.TEXTS),
        "de": Texts("de", "Deutsch", _de.TEXTS | _train_de.TEXTS),
        "zh": Texts("zh", "中文", _zh.TEXTS | _train_zh.TEXTS),
    }
)
ENGLISH = LANGUAGES["en"]
