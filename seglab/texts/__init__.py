"""Every sentence that a visitor of the page reads, by language and key.

A language is a file beside this one, and one more for the Train tab; all have the same keys with the same placeholders.
The command line and the notebooks speak English. So do the readers of files: what they complain of is recognised by its
English sentence and said again in the visitor's language.
"""

import re
from collections.abc import Mapping, Sequence
from string import Formatter
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

    def listed(self, names: Sequence[str]) -> str:
        """a; a and b; a, b and c.

        Args:
            names: At least one.
        """
        if len(names) == 1:
            return names[0]
        return self("list.comma").join(names[:-1]) + self("list.and") + names[-1]

    def counted(self, number: int) -> str:
        """A number in words, if it is small."""
        return self.entries.get(f"number.{number}", str(number))

    def said(self, message: str) -> str:
        """An English sentence of the file readers in this language; one that is not known stays as it is.

        Example:
            >>> LANGUAGES["de"].said("The mask file is empty (0 bytes).")
            'Die Maske: Die Datei ist leer (0 Byte).'
        """
        if self.language == "en":
            return message
        for key, entry in _en.TEXTS.items():
            found = _pattern(entry).fullmatch(message) if key.startswith("reader.") else None
            if found:
                return self(key, **{name: self._word(name, value) for name, value in found.groupdict().items()})
        return message

    def _word(self, name: str, value: str) -> str:
        """What stood for a placeholder of an English sentence, in this language where it is a word."""
        group = {"what": "what.", "advice": "advice."}.get(name)
        keys = (key for key, entry in _en.TEXTS.items() if group and key.startswith(group) and entry == value)
        return self.entries.get(next(keys, ""), value)


def _pattern(entry: str) -> re.Pattern[str]:
    """The sentences that come of a text; a placeholder that comes twice has one value."""
    parts, seen = [], set[str]()
    for literal, name, _, _ in Formatter().parse(entry):
        parts.append(re.escape(literal))
        if name is not None:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>.+?)")
            seen.add(name)
    return re.compile("".join(parts), re.DOTALL)


LANGUAGES: Mapping[str, Texts] = MappingProxyType(
    {
        "en": Texts("en", "English", _en.TEXTS | _train_en.TEXTS),
        "de": Texts("de", "Deutsch", _de.TEXTS | _train_de.TEXTS),
        "zh": Texts("zh", "中文", _zh.TEXTS | _train_zh.TEXTS),
    }
)
ENGLISH = LANGUAGES["en"]
