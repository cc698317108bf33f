"""The page in English."""

TEXTS: dict[str, str] = {
    "tab.compare": "Compare",
}
