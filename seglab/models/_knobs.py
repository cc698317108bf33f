"""Checks of the knobs that many models share."""


def require_at_least(knob: str, value: object, least: int) -> None:
    """Raise a ValueError unless `value` is an integer of at least `least`.

    Example:
        >>> require_at_least("width", 3, 4)
        Traceback (most recent call last):
        ValueError: width must be an integer of at least 4; got 3.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{knob} must be an integer of at least {least}; got {value!r}.")
