"""The page in Chinese."""

TEXTS: dict[str, str] = {
    "tab.compare": "比较",
}
