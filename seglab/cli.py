"""The command `seglab`: every subcommand is a call of one public function; bad input is one line and exit code 2."""

import argparse
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SETTING = re.compile(r"^[a-z_]+(\.[a-z_0-9]+)?=")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 found faults, 2 bad input, 130 stopped."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads must not hold a shared core
    signal.signal(signal.SIGTERM, _terminate)
    words = list(sys.argv[1:] if argv is None else argv)
    parser, commands = _parsers()
    if not words or words[0] not in commands:
        parser.parse_args(words)  # prints the help, or says what the commands are, and exits
    # Intermixed, so that folders and settings may stand before and after options; top-level parsers cannot do that.
    arguments = commands[words[0]].parse_intermixed_args(words[1:])
    try:
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"seglab: {_one_line(error)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if "memory" not in str(error).lower():
            raise
        print("seglab: not enough memory; lower batch_size, size or model.width.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seglab: stopped; the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130


def train(arguments: argparse.Namespace) -> int:
    """Train a model and write its run folder."""
    import torch

    import seglab
    from seglab.checkpoint import load_into

    roots, settings = _sort_items(arguments.data)
    config = seglab.TrainConfig().override(settings.pop("", []))
    splits = _load(roots, arguments.dataset, _values(settings.pop("data", [])))
    knobs, loss_knobs = _values(settings.pop("model", [])), _values(settings.pop("loss", []))
    if settings:
        raise ValueError(f"settings must start with model., loss., data. or nothing; got {sorted(settings)[0]}.")
    classes = len(splits.train.classes)
    num_classes = 1 if classes == 2 and arguments.loss.startswith("bce") else classes
    torch.manual_seed(config.seed)
    model = seglab.build_model(arguments.model, num_classes, **knobs)
    if arguments.init:
        load_into(arguments.init, model)
    out = Path(arguments.out or f"runs/{arguments.model}-{arguments.loss}")
    card = {
        "title": arguments.title or arguments.model,
        "data": {"roots": [Path(root.rpartition(":")[2]).name for root in roots] or [arguments.dataset],
                 "split": splits.fingerprint(), "train": len(splits.train), "val": len(splits.val),
                 "test": len(splits.test)},
        "command": _command(roots),
        "config": config.to_dict(),
        "loss": arguments.loss,
        "versions": {"seglab": _version(), "torch": str(torch.__version__)},
        "started_from": Path(arguments.init).name if arguments.init else "scratch",
    }  # fmt: skip
    from seglab.history import describe

    predictor = seglab.train(
        model,
        seglab.build_loss(arguments.loss, **loss_knobs),
        splits.train,
        splits.val,
        config,
        out=out,
        on_epoch=lambda record: print(describe(record), flush=True),
        card=card,
    )
    report = seglab.evaluate(predictor, splits.val)
    report.save(out / "report.json")
    value, n = report.values["dice_fg_image"]
    print(f"{out / 'best.safetensors'}: validation dice_fg_image {value:.4f} (n = {n}); test it with `seglab evaluate`.")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Score a model on the test part of a dataset (or another part)."""
    import seglab

    roots, settings = _sort_items(arguments.data)
    splits = _load(roots, arguments.dataset, _values(settings.pop("data", [])))
    if settings:
        raise ValueError(f"settings of evaluate must start with data.; got {next(iter(settings.values()))[0]}.")
    predictor = seglab.Predictor.load(arguments.model)
    data = getattr(splits, arguments.part)
    out = Path(arguments.out) if arguments.out else None
    if out is not None and out.suffix not in {".json", ".csv", ".md"}:
        raise ValueError(f"report file must end in .json, .csv or .md; got {out.name}.")
    from tqdm import tqdm

    with tqdm(total=len(data), disable=None, leave=False) as bar:
        report = seglab.evaluate(predictor, data, on_image=lambda done: bar.update())
    print(f"part: {arguments.part}, split {splits.fingerprint()}")
    print(report)
    if out is not None:
        report.save(out)
    return 0


def _load(roots: Sequence[str], name: str, knobs: dict[str, Any]) -> Any:
    """Splits of one folder or several; a folder may name its own layout, as in ph2:FOLDER."""
    from seglab.data import join, list_datasets, load_dataset

    if not roots:
        return load_dataset(name, None, **knobs)
    splits = {}
    for root in roots:
        prefix, _, rest = root.partition(":")
        layout, path = (prefix, rest) if rest and prefix in list_datasets() else (name, root)
        label = Path(path).resolve().name
        splits[label if label not in splits else path] = load_dataset(layout, path, **knobs)
    return join(splits)


def _sort_items(items: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Folders, and settings by their prefix: "model.width=16" -> {"model": ["width=16"]}."""
    roots, settings = [], dict[str, list[str]]()
    for item in items:
        if not SETTING.match(item):
            roots.append(item)
            continue
        key, _, _ = item.partition("=")
        prefix, dot, _ = key.partition(".")
        settings.setdefault(prefix if dot else "", []).append(item[len(prefix) + 1 :] if dot else item)
    return roots, settings


def _values(pairs: Sequence[str]) -> dict[str, Any]:
    """["width=16", "cbam=skip,decoder"] -> {"width": 16, "cbam": ["skip", "decoder"]}: JSON where it is JSON."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text.split(",") if "," in text else text
        if isinstance(values[key], list):
            values[key] = tuple(values[key])
    return values


def _command(roots: Sequence[str]) -> str:
    """The command line as typed, with folders by their own names only."""
    short = {root: root.replace(str(Path(root).parent) + os.sep, "") if "/" in root else root for root in roots}
    return shlex.join(["seglab", *(short.get(item, item) for item in sys.argv[1:])])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("seglab")
    except PackageNotFoundError:
        return "not installed"


def _one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _terminate(number: int, frame: object) -> None:
    """SIGTERM ends like Ctrl-C: files are closed, and the last checkpoint stays."""
    raise KeyboardInterrupt


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The top-level parser, and the parser of every subcommand by name."""
    parser = argparse.ArgumentParser(prog="seglab", description="Compare U-Nets and their enhancements, fairly.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__.replace("_", "-"), help=help_text, description=run.__doc__)
        sub.set_defaults(run=run)
        return sub

    sub = command(train, "train a model")
    sub.add_argument("model", help="a name of `seglab list models`")
    sub.add_argument("loss", help="a name of `seglab list losses`")
    _add_data(sub, "folders, then settings: epochs=20 model.width=16 loss.alpha=0.5 data.seed=1")
    sub.add_argument("--out", help="run folder; one that holds this run is continued")
    sub.add_argument("--init", help="checkpoint of the same model to start from")
    sub.add_argument("--title", help="name that tables and the app show")

    sub = command(evaluate, "score a model on test pictures")
    _add_data(sub, "folders, then settings such as data.seed=1")
    sub.add_argument("--model", required=True, help="checkpoint or run folder")
    sub.add_argument("--part", choices=("train", "val", "test"), default="test")
    sub.add_argument("--out", help="report file: .json, .csv or .md")
    return parser, dict(commands.choices)


def _add_data(sub: argparse.ArgumentParser, text: str) -> None:
    """The arguments that say which pictures."""
    sub.add_argument("data", nargs="*", help=text)
    sub.add_argument("--dataset", default="folder", help="layout of the folders (default: folder)")
