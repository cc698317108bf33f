"""The page in German."""

TEXTS: dict[str, str] = {
    "tab.compare": "Vergleichen",
}
