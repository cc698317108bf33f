"""The start of a lesson, and numbers that do not wobble."""

import os

__all__ = ["band", "setup"]

DTYPES = ("float32", "float64")


def setup(seed: int = 0, *, dtype: str = "float32") -> None:
    """Start a lesson: seed the random numbers, choose the precision of new models, and switch progress bars off.

    Args:
        seed: For PyTorch's random numbers, 0 or above.
        dtype: "float32", or "float64" for short trainings on the CPU whose printed numbers must not depend on the
            processor or the number of threads. Models that are built or loaded afterwards compute in it.

    Raises:
        ValueError: If the seed is negative or the precision is another one.

    Example:
        >>> setup(seed=0)
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    if seed < 0:
        raise ValueError(f"seed must be 0 or above; got {seed}.")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads: waiting threads give their core away
    os.environ.setdefault("TQDM_DISABLE", "1")  # a bar's timing would differ in every run
    import torch

    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, dtype))


def band(value: float, low: float, high: float) -> str:
    """A number that may differ a little between machines, as the band it must lie in.

    Args:
        value: Any number.
        low: Lower end, included.
        high: Upper end, included; above `low`.

    Returns:
        The band only, if the value lies in it; else the value too, so that a comparison with the stored text fails.

    Raises:
        ValueError: If the ends are not in order.

    Example:
        >>> band(0.8132, 0.7, 0.9), band(0.5, 0.7, 0.9), band(float("nan"), 0.7, 0.9)
        ('between 0.7 and 0.9', '0.5, not between 0.7 and 0.9', 'nan, not between 0.7 and 0.9')
    """
    if not low < high:
        raise ValueError(f"low must be below high; got {low} and {high}.")
    text = f"between {low:g} and {high:g}"
    return text if low <= value <= high else f"{value:.3g}, not {text}"
