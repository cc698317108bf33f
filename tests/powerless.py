"""Start a process that file permissions bind even when the tests run as root, as they do in a container."""

import ctypes
import subprocess
import sys

CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24


def _drop() -> None:
    """Give up, before the program starts, the power to write where permissions forbid it; others have none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def powerless(command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command that cannot write into folders without the permission for it; its output as text."""
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=_drop, check=False, **settings)  # noqa: PLW1509
