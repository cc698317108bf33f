"""The Train tab in German."""

TEXTS: dict[str, str] = {
    "tab.train": "Trainieren",
}
