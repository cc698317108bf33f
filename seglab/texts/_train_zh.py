"""The Train tab in Chinese."""

TEXTS: dict[str, str] = {
    "tab.train": "训练",
}
