"""What can be said about the packages underneath without a network: not an audit, see .github/SECURITY.md."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# The first version without the holes known when this was written, and what they were.
CLEAN = {
    "torch": ("2.10", "CVE-2025-32434 and CVE-2026-24747: code from a file under weights_only=True"),
    "gradio": ("6.16", "CVE-2026-28414, CVE-2026-28416 and CVE-2026-49119: files and requests of the server"),
    "pillow": ("12.3", "overflows in decoders up to 12.2"),
}


def requirements() -> dict[str, Requirement]:
    """What the package asks for, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {one.name: one for one in map(Requirement, project["dependencies"])}


@pytest.mark.parametrize("name", CLEAN)
def test_lowest_accepted_and_installed_version_have_no_hole_known_then(name):
    clean = Version(CLEAN[name][0])
    (lowest,) = (Version(one.version) for one in requirements()[name].specifier if one.operator == ">=")
    assert lowest >= clean
    assert Version(version(name)) >= clean


def test_every_dependency_has_a_lowest_version_and_is_pinned_to_one_that_fits():
    lines = (ROOT / ".ci" / "constraints.txt").read_text().split()
    pinned = {
        re.sub(r"[-_.]+", "-", name).lower(): number for name, _, number in (line.partition("==") for line in lines)
    }
    for name, requirement in requirements().items():
        assert any(one.operator == ">=" for one in requirement.specifier), name
        assert requirement.specifier.contains(pinned[name]), name
