"""Every sentence that a visitor of the page reads, by language and key.

A language is a file beside this one, one more for the Train tab and one for the mask doctor; all have the same keys
with the same placeholders. The command line and the notebooks speak English. So do the readers of files and the doctor:
what they say is recognised by its English sentence and said again in the visitor's language.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from string import Formatter
from types import MappingProxyType

from seglab.texts import _de, _doctor_de, _doctor_en, _doctor_zh, _en, _train_de, _train_en, _train_zh, _zh

__all__ = ["ENGLISH", "LANGUAGES", "Texts"]

SENTENCES = ("reader.", "doctor.", "remedy.")  # keys of what others say in English begin so
WORDS = ("what", "advice", "reader", "how", "smeared")  # placeholders for words; their keys begin so
PLACE = re.compile(r"(.+? in (?:train|val|test))(?: and |$)")


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
        """An English sentence of the file readers or the mask doctor in this language; an unknown one stays as it is.

        Example:
            >>> LANGUAGES["de"].said("The mask file is empty (0 bytes).")
            'Die Maske: Die Datei ist leer (0 Byte).'
            >>> LANGUAGES["de"].said("has no row for 9 pictures: a, b and 7 more.")
            'hat keine Zeile für 9 Bilder: a, b und 7 weitere.'
        """
        return self._again(message, SENTENCES)

    def _again(self, english: str, groups: tuple[str, ...]) -> str:
        """English words in this language, if they come of a text whose key begins with one of the groups."""
        if self.language == "en":
            return english
        for key, entry in ENGLISH.entries.items():
            found = _pattern(entry).fullmatch(english) if key.startswith(groups) else None
            if found:
                return self(key, **{name: self._value(name, value) for name, value in found.groupdict().items()})
        return english

    def _value(self, name: str, value: str) -> str:
        """What stood for a placeholder of an English sentence; only where it is words, in this language."""
        if name in WORDS:
            return self._again(value, (f"{name}.",))
        if name == "parts":
            return self.listed(value.split(" and "))
        if name == "places":
            return self.listed([self._again(one, ("place.",)) for one in PLACE.findall(value)] or [value])
        return self._listing(value, pairs=name == "pairs") if name in ("names", "pairs") else value

    def _listing(self, value: str, *, pairs: bool) -> str:
        """Names, or pairs of them, and how many more."""
        for key in ("listed.more", "listed.values"):
            found = _pattern(ENGLISH.entries[key]).fullmatch(value)
            if found and found["count"].isdigit():
                return self(key, first=self._listing(found["first"], pairs=pairs), count=found["count"])
        return ", ".join(self._again(one, ("pair.",)) for one in value.split(", ")) if pairs else value


@cache
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
        "en": Texts("en", "English", _en.TEXTS | _train_en.TEXTS | _doctor_en.TEXTS),
        "de": Texts("de", "Deutsch", _de.TEXTS | _train_de.TEXTS | _doctor_de.TEXTS),
        "zh": Texts("zh", "中文", _zh.TEXTS | _train_zh.TEXTS | _doctor_zh.TEXTS),
    }
)
ENGLISH = LANGUAGES["en"]
