"""The house rules, as tests."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seglab

PACKAGE = Path(__file__).parents[1] / "seglab"
FILES = sorted(PACKAGE.rglob("*.py"))
ROWS = [  # a module may import modules of the rows before its own, and nothing else of seglab
    {"contract", "files"},
    {"images", "config", "settings", "stats", "blocks", "devices", "palette", "sealed", "texts"},
    {"models", "losses", "metrics", "data", "augmentation", "corruptions", "distributed"},
    {"checkpoint", "disk_cache", "norms", "resident", "compiling", "schedules"},
    {"exported", "tiles"},
    {"inference"},
    {"export"},
    {"engines", "quantised"},
    {"evaluation", "explain", "batches", "history", "access"},
    {"runs", "cards", "packing", "scoring", "verdicts"},  # beside training and comparison: what stands alone
    {"resume", "records"},
    {"stepping", "saving"},
    {"training", "comparison", "robustness"},
    {"experiments", "verification"},
    {"papers", "plots", "charts", "teach", "serving", "ablation", "orders"},
    {"effects", "benchmarks", "disturbed", "previews", "style", "pupil", "zipped"},
    {"shown", "classroom", "visitors"},  # from here on the page, from the inside to the outside
    {"series", "evidence", "kept"},
    {"handlers"},
    {"train_page"},
    {"page"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
HEAVY = ["cv2", "gradio", "matplotlib", "onnx", "onnxruntime", "openvino", "segmentation_models_pytorch", "tensorboard"]
HEAVY += ["torchvision"]
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "core", "misc", "shared", "tools"}


def name_of(path: Path) -> str:
    """`seglab.data.voc` of seglab/data/voc.py."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def without_typing(tree: ast.AST) -> list[ast.AST]:
    """All nodes but those that only a type checker reads."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return []
    return [tree, *(node for child in ast.iter_child_nodes(tree) for node in without_typing(child))]


def public_homes() -> dict[str, str]:
    """Module of every public name, read from the imports that type checkers see."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    return {alias.name: node.module for node in imports if node.module.startswith("seglab.") for alias in node.names}


def imported(path: Path) -> set[str]:
    """Names of the seglab modules a file imports, wherever in the file."""
    homes, found = public_homes(), set()
    for node in without_typing(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "seglab":
            names = [homes.get(alias.name, f"seglab.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("seglab.")}
    return found


def functions(path: Path) -> list[tuple[str, int]]:
    """Every function of a file with the lines of its body, the docstring not counted."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            found.append((node.name, body[-1].end_lineno - body[0].lineno + 1 if body else 0))
    return found


@pytest.mark.parametrize("path", [path for path in FILES if path != PACKAGE / "__init__.py"], ids=name_of)
def test_imports_point_up(path):
    home = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    rows = [number for number, names in enumerate(ROWS) if home in names]
    assert rows, f"{home} must have a place in ROWS"
    allowed = set().union(*ROWS[: rows[0]], {home})
    assert imported(path) <= allowed, f"{path.name} may import {sorted(allowed)}; got {sorted(imported(path))}"


def test_a_module_has_one_place():
    names = [name for row in ROWS for name in row]
    assert len(names) == len(set(names))


def test_public_names_are_sorted_and_complete():
    assert sorted(seglab.__all__) == seglab.__all__
    assert set(seglab.__all__) == set(public_homes())
    assert dir(seglab) == seglab.__all__
    promised = (
        "Predictor Segmenter TrainConfig build_loss build_model compare evaluate list_datasets list_models "
        "load_dataset train"
    )
    assert set(promised.split()) <= set(seglab.__all__)


@pytest.mark.parametrize("name", seglab.__all__)
def test_public_name_is_there_and_documented(name):
    value = getattr(seglab, name)
    assert value.__module__ == public_homes()[name]
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}(")  # what a dataclass or named tuple writes by itself


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'seglab' has no attribute 'Trainer'"):
        seglab.Trainer  # noqa: B018 - the look is the test


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_a_module_says_it_offers_is_there_and_documented(path):
    module = importlib.import_module(name_of(path))
    assert module.__doc__
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        if callable(value) and getattr(value, "__module__", "") == module.__name__:
            assert value.__doc__, f"{module.__name__}.{name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_fit_on_a_screen_and_files_on_ten(path):
    long = [f"{name} ({lines})" for name, lines in functions(path) if lines > 40]
    assert not long, f"{path.name}: bodies above 40 lines: {', '.join(long)}"
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{path.name} has {lines} lines"


def test_no_module_has_a_name_that_says_nothing():
    names = {part.lstrip("_") for path in FILES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & EMPTY_NAMES


def test_no_star_imports_and_no_globals():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Global), f"{path.name}:{node.lineno} has a global"
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), f"{path.name}:{node.lineno} imports *"


def unsafe(source: str) -> list[str]:
    """Calls and imports that let a file or a text run as code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} | {
                (getattr(node, "module", "") or "").split(".")[0]
            }
            found += sorted(names & {"pickle", "marshal", "dill", "joblib", "shelve", "cloudpickle", "yaml", "pty"})
        if not isinstance(node, ast.Call):
            continue
        name, text = ast.unparse(node.func), ast.unparse(node)
        last = name.rpartition(".")[2]
        if name in ("eval", "exec", "compile", "__import__") or re.fullmatch(
            r"os\.(system|popen|exec\w+|spawn\w+)", name
        ):
            found.append(text)
        if re.search(r"\b(shell|allow_pickle|trust_remote_code|trust_repo)=(?!False\b)", text):
            found.append(text)
        if name == "torch.load" and "weights_only=True" not in text:
            found.append(text)
        if name.startswith(("torch.hub", "torch.jit.load", "torch.package")) or last in ("load_lua", "unsafe_load"):
            found.append(text)
    return found


def test_unsafe_readers_are_called_nowhere():
    for path in FILES:
        assert not unsafe(path.read_text()), path


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import yaml", "torch.load(f)", "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=asked)", "eval(text)", "exec(text)",
        "os.system(text)", "subprocess.run(text, shell=True)", "os.popen(text)", "torch.hub.load('a', 'b')",
        "torch.jit.load(f)",
    ],
)  # fmt: skip
def test_rule_against_unsafe_readers_finds_them(source):
    assert unsafe(source)


@pytest.mark.parametrize("what", ["import seglab", "[getattr(seglab, name) for name in seglab.__all__]"])
def test_neither_import_nor_public_names_load_what_is_heavy(what):
    code = f"import sys, seglab; {what}; print(*sorted(set({HEAVY}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_examples_in_docstrings_run(path):
    failed, _ = doctest.testmod(importlib.import_module(name_of(path)), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_most_modules_have_examples():
    finder = doctest.DocTestFinder()
    counts = [
        sum(len(case.examples) for case in finder.find(importlib.import_module(name_of(path))))
        for path in FILES
        if not path.name.startswith("_")
    ]
    assert sum(counts) > 100
    assert sum(count > 0 for count in counts) > len(counts) / 2
