"""The page of results is what the stored numbers say, word for word."""

import json
import runpy
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[1] / "assets"
PAGE = runpy.run_path(str(ASSETS / "results.py"))
pytestmark = pytest.mark.filterwarnings("ignore:Matplotlib is building the font cache")


def test_the_page_is_made_of_the_files_beside_it() -> None:
    pieces = list(PAGE["blocks"]())
    assert PAGE["page"](pieces) == (ASSETS / "results/README.md").read_text()
    names = [one.name for one in pieces if not isinstance(one, str)]
    assert names == [name for name in PAGE["SECTIONS"] if (ASSETS / f"results/{name}.json").is_file()]
    assert all((ASSETS / f"results/{name}.png").is_file() for name in names)


def test_both_kinds_of_pictures_have_three_seeds_and_an_interval_for_every_effect() -> None:
    for kind in ("skin", "steel"):
        content = json.loads((ASSETS / f"results/{kind}.json").read_text())
        assert len(content["seeds"]) >= 3
        for found in content["effects"].values():
            assert [one["name"] for one in found["effects"]] == ["augment", "model.cbam", "augment x model.cbam"]
            assert all(one["low"] < one["value"] < one["high"] for one in found["effects"])


def test_a_verdict_claims_no_more_than_its_interval() -> None:
    facts = {"value": 0.02, "low": -0.01, "high": 0.05, "p_holm": 0.01, "detectable": 0.03}
    assert "no effect was shown" in PAGE["verdict"]("x", facts)  # the interval holds 0
    assert "no effect was shown" in PAGE["verdict"]("x", facts | {"low": 0.001, "p_holm": 0.06})
    assert PAGE["verdict"]("x", facts | {"value": -0.02, "low": -0.04, "high": -0.01}).startswith(
        "x lowered Dice by 0.020"
    )


def test_the_readme_holds_what_the_cards_and_the_results_say() -> None:
    readme = (ASSETS.parent / "README.md").read_text()
    made = runpy.run_path(str(ASSETS / "readme.py"))
    assert made["with_tables"](readme) == readme
    assert made["effects"]() in readme
    assert made["table"]() in readme
