"""The page's texts: every key in every language, nothing written outside them, and readers' complaints translated."""

import ast
import itertools
import re
from pathlib import Path
from string import Formatter

import numpy as np
import pytest
from PIL import Image

from seglab import texts as texts_module
from seglab.comparison import METRICS, VIEWS, compare
from seglab.disturbed import KINDS, cost, in_words, points_table
from seglab.evidence import evidence
from seglab.images import ImageError, read_image, read_mask
from seglab.inference import Predictor
from seglab.models import build_model
from seglab.series import ORDERS, pair_up
from seglab.texts import ENGLISH, LANGUAGES

PACKAGE = Path(__file__).parents[1] / "seglab"
SPEAKING = ("page", "handlers", "shown", "verdicts", "series", "disturbed", "evidence", "style", "train_page")
PROSE = re.compile(r"[A-Za-z]{2,}[,.:]? [A-Za-z]{2,}")
NAMES = {"Segoe UI", "Focal Tversky", "ZIP file"}  # of a font, of a loss, and what `Texts.said` translates
READ_ALOUD = {"label", "info", "placeholder", "alt_text", "title"}
RECOGNISED = ("reader.", "what.", "advice.", "doctor.", "remedy.", "how.", "smeared.", "pair.", "place.")
DOCTOR = ("data/_checks", "data/_duplicates", "data/_inspect", "data/_inventory", "data/_polarity", "zipped")
OTHERS = [one for code, one in LANGUAGES.items() if code != "en"]


def fields(text: str) -> list[str]:
    """Placeholders of a text with their formats, sorted; one may come twice."""
    return sorted({f"{name}:{form}" for _, name, form, _ in Formatter().parse(text) if name is not None})


@pytest.mark.parametrize("texts", OTHERS, ids=lambda one: one.language)
def test_languages_have_the_same_keys_with_the_same_placeholders(texts):
    assert set(texts.entries) == set(ENGLISH.entries)
    assert {key: fields(text) for key, text in texts.entries.items()} == {
        key: fields(text) for key, text in ENGLISH.entries.items()
    }


@pytest.mark.parametrize("texts", OTHERS, ids=lambda one: one.language)
def test_long_texts_are_translated(texts):
    same = [key for key, text in texts.entries.items() if text == ENGLISH.entries[key] and PROSE.search(text)]
    assert same == []


def test_chinese_sentences_are_chinese_and_german_ones_have_umlauts():
    chinese = LANGUAGES["zh"].entries
    plain = [key for key, text in ENGLISH.entries.items() if PROSE.search(text)]
    assert [key for key in plain if not re.search(r"[\u4e00-\u9fff]", chinese[key])] == []
    german = " ".join(LANGUAGES["de"].entries.values())
    assert all(german.count(letter) > 10 for letter in "äöüß")


def test_script_says_every_text_it_asks_for():
    script = (PACKAGE / "page.js").read_text(encoding="utf-8")
    asked = set(re.findall(r"(?:say|speak|button\(say|spoken)\('(\w+)'", script)) - {"title"}
    assert {"help", "canvas", "unpainted"} <= asked
    assert {f"script.{name}" for name in asked} <= set(ENGLISH.entries)


def speakers() -> list[Path]:
    return [PACKAGE / f"{name}.py" for name in SPEAKING if (PACKAGE / f"{name}.py").exists()]


def for_visitors(tree: ast.Module) -> list[ast.AST]:
    """Nodes whose strings a visitor may read: not docstrings, errors of programmers, or what a terminal shows."""
    nodes: list[ast.AST] = []

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Raise) and "ValueError" in ast.unparse(node):
            return
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("print", "ArgumentParser", "add_argument")):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        nodes.append(node)
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(tree)
    return nodes


@pytest.mark.parametrize("path", speakers(), ids=lambda path: path.stem)
def test_no_sentence_stands_outside_the_texts(path):
    markup = re.compile(r"<[^>]*>?|svg|viewBox")
    constants = [
        node.value
        for node in for_visitors(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count("{") < 5  # a style sheet
    ]
    assert [text for text in constants if PROSE.search(text) and not markup.search(text) and text not in NAMES] == []


@pytest.mark.parametrize("path", speakers(), ids=lambda path: path.stem)
def test_components_get_their_words_from_the_texts(path):
    for node in for_visitors(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        named = [one.value for one in node.keywords if one.arg in READ_ALOUD]
        first = node.args[:1] if ast.unparse(node.func).startswith("gr.") else []
        for value in [*named, *first]:
            words = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
            assert not re.search(r"[A-Za-z]{2}", words) or words == "compare", f"{path.name}:{node.lineno}: {words}"


def test_every_key_that_the_code_asks_for_is_there_and_every_other_is_gone():
    exact, begun, script = set(), set(), (PACKAGE / "page.js").read_text(encoding="utf-8")
    for path in (*PACKAGE.glob("*.py"), PACKAGE / "texts" / "__init__.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
                exact.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                begun.add(str(node.values[0].value))
    begun = {start for start in begun if re.fullmatch(r"[a-z]+\.([a-z_.]+)?", start)} | set(RECOGNISED)
    lost = [
        key
        for key in ENGLISH.entries
        if key not in exact and not key.startswith(tuple(begun)) and f"'{key.removeprefix('script.')}'" not in script
    ]
    assert lost == []
    groups = {key.split(".")[0] for key in ENGLISH.entries}
    asked = {key for key in exact if "." in key and key.split(".")[0] in groups and not key.endswith((".", ".py"))}
    files = {key for key in asked if re.search(r"\.(json|png|csv|txt|md|zip|js|norm|weight|npz|safetensors)$", key)}
    unknown = {key for key in asked - files if key not in ENGLISH.entries}
    assert not {key for key in unknown if key.split(".")[0] in {"say", "error", "verdict", "table", "script", "train"}}


def test_names_made_at_run_time_have_their_texts():
    keys = [f"metric.{name}" for name in METRICS] + [f"view.{name}" for name in VIEWS] + [f"alt.{v}" for v in VIEWS]
    keys += [f"legend.{view}" for view in ("probability", "attention", "mask")] + [f"order.{one}" for one in ORDERS]
    keys += [f"corruption.{kind}{end}" for kind in KINDS for end in ("", ".unit")]
    assert set(keys) <= set(ENGLISH.entries)


def test_a_missing_value_is_an_error_and_not_an_empty_place():
    with pytest.raises(KeyError, match="most"):
        ENGLISH("models.info")
    with pytest.raises(KeyError, match="nothing"):
        ENGLISH("nothing.of.the.kind")


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a"], "a"), (["a", "b"], "a und b"), (["a", "b", "c"], "a, b und c")],
)
def test_names_are_listed_as_the_language_does(names, expected):
    assert LANGUAGES["de"].listed(names) == expected


def test_small_numbers_are_words():
    assert [LANGUAGES["de"].counted(number) for number in (3, 9, 12)] == ["drei", "neun", "12"]


@pytest.fixture
def odd_files(tmp_path):
    """Files that the readers refuse, each in another way."""
    grey = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (40, 1)))
    (tmp_path / "empty.png").touch()
    grey.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture at all, only words")
    for mark, name in ((b"GIF89a", "a.gif"), (b"%PDF-1.4", "a.pdf"), (b"<svg></svg>", "a.svg"), (b"%!PS", "a.ps")):
        (tmp_path / name).write_bytes(mark + bytes(40))
    grey.crop((0, 0, 8, 8)).save(tmp_path / "small.png")
    grey.save(tmp_path / "two.tif", save_all=True, append_images=[grey])
    Image.fromarray(np.full((20, 20), 3.5, np.float32)).save(tmp_path / "float.tif")
    return sorted(tmp_path.iterdir())


def complaint(read, *given, **named) -> str | None:
    try:
        read(*given, **named)
    except ImageError as error:
        return error.message
    return None


@pytest.mark.parametrize("texts", OTHERS, ids=lambda one: one.language)
def test_complaints_of_the_readers_are_said_in_the_visitors_language(odd_files, texts):
    found = [complaint(read_image, file) for file in odd_files]
    mask = np.zeros((20, 30), np.uint8)
    found += [complaint(read_mask, mask, size=size, num_classes=2) for size in ((20, 20), (30, 20))]
    found += [complaint(read_mask, mask + 3, num_classes=2, threshold=128)]
    found += [complaint(read_mask, np.stack([mask, mask + 1, mask], -1), num_classes=2)]
    refused = [message for message in found if message]
    assert len(refused) == len(found) - 1  # whole.png is as it should be
    for message in refused:
        said = texts.said(message)
        assert said != message
        assert not re.search(r"\b(The|must|picture|mask|Save|Make|got|is)\b", said), said
        assert set(re.findall(r"\d+", message)) == set(re.findall(r"\d+", said)), said


def test_sentences_that_nobody_knows_stay_as_they_are():
    assert LANGUAGES["de"].said("Something else.") == "Something else."
    assert ENGLISH.said("The mask file is empty (0 bytes).") == "The mask file is empty (0 bytes)."


def said_by(node: ast.expr, scope: ast.AST) -> list[str]:
    """Every sentence that an expression can be, with 7 for what is known only at run time."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in itertools.product(*(said_by(part, scope) for part in node.values))]
    if isinstance(node, ast.FormattedValue):
        return said_by(node.value, scope)
    if isinstance(node, ast.IfExp):
        return [*said_by(node.body, scope), *said_by(node.orelse, scope)]
    if isinstance(node, ast.Name):
        whole, more = [], []
        for one in ast.walk(scope):
            if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == node.id:
                whole += said_by(one.value, scope)
            elif isinstance(one, ast.AugAssign) and ast.unparse(one.target) == node.id:
                more += said_by(one.value, scope)
        return [start + end for start in whole or ["7"] for end in ("", *more)]
    return ["7"]


def findings_in_code() -> list[tuple[str, str, list[str]]]:
    """Kind, place and sentences of every finding that the mask doctor's code can give."""
    found = []
    for name in DOCTOR:
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        for scope in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
            for call in [node for node in ast.walk(scope) if isinstance(node, ast.Call)]:
                who = ast.unparse(call.func)
                first = {"Finding": 3, "found.add": 2, "found.warn": 2, "look.add": 2}.get(who)
                if first is None:
                    continue
                words = [said_by(one, scope) for one in call.args[first : first + 2]]
                kind = ast.unparse(call.args[0]).strip("'")
                found.append((kind, f"{name}:{call.lineno}", [one for each in words for one in each if one]))
    return found


def in_english(words: str) -> str:
    """The English text that a sentence comes of, as its key."""
    keys = (key for key, entry in ENGLISH.entries.items() if key.startswith(("doctor.", "remedy.")))
    return next((key for key in keys if texts_module._pattern(ENGLISH.entries[key]).fullmatch(words)), "")


def test_every_finding_of_the_mask_doctor_has_a_text():
    found = findings_in_code()
    assert len({kind for kind, _, _ in found}) >= 30
    lacking = [(place, words) for _, place, all_words in found for words in all_words if not in_english(words)]
    foreign = [words for _, words in lacking if words == "7"]  # a loader's own words: the doctor has passed them
    assert [one for one in lacking if one[1] != "7"] == []
    assert len(foreign) == 1
    used = {in_english(words) for _, _, all_words in found for words in all_words}
    assert {key for key in ENGLISH.entries if key.startswith(("doctor.", "remedy."))} - used == {
        "doctor.layout.empty"  # of an empty folder
    }


@pytest.mark.parametrize("texts", OTHERS, ids=lambda one: one.language)
def test_findings_are_said_in_the_visitors_language(texts):
    for _, place, all_words in findings_in_code():
        for words in all_words:
            said = texts.said(words)
            assert said != words or words == "7", place
            assert not re.search(
                r"\b(the|is|are|has|must|got|it|of|them|picture|pictures|mask|identical|mirrored)\b", said
            ), said


@pytest.mark.parametrize("texts", OTHERS, ids=lambda one: one.language)
def test_numbers_and_names_in_findings_stay_and_words_between_them_do_not(texts):
    english = {
        "has no row for 9 pictures: a, b and 7 more.": ["9", "a, b", "7"],
        "names of 2 masks end in a suffix the picture does not have: a.png with a_mask.png, b with b_m.": ["b_m", "2"],
        "lies in several parts: x and y in train and z in val.": ["x and y", "train", "z", "val"],
        "must put pictures into every part; got none for val and test.": ["val", "test"],
        "must hold class indices below 2, or 255; got also 3, 4, 5, 6, 7, 8, ... (12 values).": ["3, 4, 5", "12"],
        "cannot be read: The mask file is damaged or cut short. Copy it again and retry.": [],
        "must hold the folders images and masks; got nothing.": ["images", "masks"],
        "Map 7 to 1; --fix does it.": ["7", "1", "--fix"],
    }
    for words, kept in english.items():
        said = texts.said(words)
        assert all(one in said for one in kept), said
        assert not re.search(r"\b(more|with|values|nothing|damaged|does)\b", said), said
        assert ENGLISH.said(words) == words


class TestSpokenResults:
    """A comparison in every language; the sentences themselves are checked in English in test_comparison."""

    @pytest.fixture
    def found(self):
        model = Predictor(build_model("unet", 1, width=4), size=32)
        picture = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
        return compare(picture, {"first": model, "second": model}, np.eye(32, 40, dtype=np.uint8) * 255)

    @pytest.mark.parametrize("texts", OTHERS, ids=lambda one: one.language)
    def test_hold_the_same_numbers(self, found, texts):
        for threshold in (0.01, 0.5, 0.99):
            one = found.at(threshold)
            english, other = one.verdict(), one.verdict(texts)
            assert re.findall(r"\d\.\d+", english) == re.findall(r"\d\.\d+", other)
            assert not re.search(r"\b(picture|closer|Neither)\b", other)
        ours, theirs = (re.sub(r"[^\d.|+-]", "", one.to_markdown(language)) for language in (ENGLISH, texts))
        assert re.findall(r"\d+\.\d+", ours) == re.findall(r"\d+\.\d+", theirs)
        assert texts("table.difference") in one.to_markdown(texts)

    @pytest.mark.parametrize("texts", OTHERS, ids=lambda one: one.language)
    def test_reach_disturbances_series_and_evidence(self, found, texts):
        assert texts("corruption.blur") in in_words({"blur": 1.0, "jpeg": 100}, texts)
        assert texts("points.none") in points_table({"blur": {"first": None}}, {"first": "first"}, texts)
        assert cost(found, found, texts) == texts(
            "cost.dice",
            told="; ".join(
                texts("cost.model", name=one.name, before=one.numbers["dice"], after=one.numbers["dice"])
                for one in found.results
            ),
            who=texts("cost.equal"),
        )
        assert texts("evidence.none") in evidence({"mine": object()}, texts)
        with pytest.raises(ImageError, match="0"):
            pair_up([], texts)
