"""The Train tab in English."""

TEXTS: dict[str, str] = {
    "tab.train": "Train",
}
