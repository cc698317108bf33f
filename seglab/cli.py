"""The command `seglab`: every subcommand is a call of one public function; bad input is one line and exit code 2."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from seglab.commands import (
    app,
    check_data,
    compare,
    download,
    evaluate,
    export,
    import_,
    list_,
    one_line,
    predict,
    reproduce,
    train,
)
from seglab.commands._ablate import ablate
from seglab.commands._audit import audit
from seglab.commands._benchmark import benchmark
from seglab.commands._explain import explain
from seglab.commands._verify import verify


class Parser(argparse.ArgumentParser):
    """Parser whose complaints are one line, like every other error of the command."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and exit with code 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}. See `{self.prog} --help`.\n")


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
    arguments.words = words  # as typed, for the record of a run
    try:
        run: Callable[[argparse.Namespace], int] = arguments.run
        with warnings.catch_warnings():
            warnings.showwarning = _say  # type: ignore[assignment]
            return run(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"seglab: {one_line(error)}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:  # torch says it as a RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        said = one_line(error)
        general = "not enough memory; lower batch_size, size or model.width."
        print(f"seglab: {said if said.startswith('not enough memory for') else general}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumable = "; the same command goes on from the last checkpoint" if words[0] in ("train", "reproduce") else ""
        print(f"seglab: stopped{resumable}.", file=sys.stderr)
        return 130


def _say(message: Warning | str, category: type[Warning], filename: str, *_: object) -> None:
    """Print a warning of ours as one line, like every error; of other packages it is not for the user."""
    if "seglab" in filename:
        print(f"seglab: {' '.join(str(message).split())}", file=sys.stderr)


def _terminate(number: int, frame: object) -> None:
    """SIGTERM ends like Ctrl-C: files are closed, and the last checkpoint stays."""
    raise KeyboardInterrupt


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The top-level parser, and the parser of every subcommand by name."""
    parser = Parser(prog="seglab", description="Compare U-Nets and their enhancements, fairly.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__.rstrip("_").replace("_", "-"), help=help_text, description=run.__doc__)
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
    sub.add_argument("--model", required=True, help="checkpoint, run folder or exported ONNX file")
    sub.add_argument("--part", choices=("train", "val", "test"), default="test")
    sub.add_argument("--out", help="report file: .json, .csv, .md, or .png for the bars of every class")
    sub.add_argument("--pixel-size-mm", type=float, help="side of a pixel; distances are then given in mm too")
    _add_ways(sub)

    _add_model_commands(command)
    _add_explain(command)
    _add_ablate(command)
    _add_reproduce(command)
    _add_data_commands(command)
    _add_benchmark(command)
    _add_app(command)
    return parser, dict(commands.choices)


def _add_benchmark(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommand that measures speed."""
    sub = command(benchmark, "measure how fast seglab is, as ratios to other libraries")
    help_text = "gpu, inference, metrics, pictures or training (default: all)"
    sub.add_argument("group", nargs="*", default=[], metavar="GROUP", help=help_text)
    sub.add_argument("--quick", action="store_true", help="few rounds of small work, to see that it runs")
    sub.add_argument("--out", help="Markdown file for the table")


def _add_ways(sub: argparse.ArgumentParser) -> None:
    """The arguments that say how a picture is answered."""
    help_text = "answer larger pictures in blended tiles of this side (default: the model's own size)"
    sub.add_argument("--tile", type=int, nargs="?", const=0, metavar="PIXELS", help=help_text)
    sub.add_argument("--tta", action="store_true", help="mean of the answers in eight orientations")
    help_text = (
        "folded, bf16, openvino, openvino-bf16, onnxruntime; fastest or fastest-bf16 of these here (default: torch)"
    )
    sub.add_argument("--engine", default="torch", metavar="NAME", help=help_text)


def _add_explain(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommand that tests a model's attention."""
    sub = command(explain, "test whether a model's attention explains what it does")
    _add_data(sub, "folders, then settings such as data.seed=1")
    sub.add_argument("--model", required=True, help="checkpoint or run folder")
    sub.add_argument("--part", choices=("train", "val", "test"), default="test")
    sub.add_argument("--pictures", type=int, metavar="N", help="take N pictures, at even steps (default: all)")
    sub.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    sub.add_argument("--out", help="file of the result: .json or .md")


def _add_ablate(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommand that trains every combination of factors."""
    sub = command(ablate, "train factors x seeds and say which factor helped")
    sub.add_argument("model", help="a name of `seglab list models`")
    sub.add_argument("loss", help="a name of `seglab list losses`")
    _add_data(sub, "folders, then settings that all runs share: epochs=20 model.width=16 data.seed=1")
    sub.add_argument("--out", help="folder for the runs; one that holds this ablation is continued")
    sub.add_argument(
        "--factor",
        action="append",
        default=[],
        metavar="NAME=LEVEL/LEVEL",
        help='any setting; may be given again (default: augment=false/true and "model.cbam=[]/bottleneck,skip")',
    )
    sub.add_argument("--seeds", type=int, default=3, help="seeds of every combination (default: 3)")
    sub.add_argument("--folds", type=int, help="test on k folds of all pictures, not on the test part")
    sub.add_argument("--jobs", type=int, default=1, help="runs at the same time (default: 1)")


def _add_model_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommands that take trained models."""
    sub = command(predict, "write masks of pictures and folders")
    sub.add_argument("input", nargs="+", help="pictures and folders of pictures")
    sub.add_argument("--model", required=True, help="checkpoint, run folder or exported ONNX file")
    sub.add_argument("--out", required=True, help="folder for the masks")
    sub.add_argument("--threshold", type=float, default=0.5, help="for two classes (default: 0.5)")
    _add_ways(sub)

    sub = command(compare, "compare models on a test set or on one picture")
    sub.add_argument("models", nargs="+", help="two or more checkpoints, run folders or ONNX files")
    sub.add_argument("--data", nargs="+", default=[], help="folders whose test parts are scored, data.NAME=VALUE")
    sub.add_argument("--dataset", default="folder", help="its layout (default: folder)")
    sub.add_argument("--image", help="one picture")
    sub.add_argument("--truth", help="its mask, or labelme JSON")
    sub.add_argument("--threshold", type=float, default=0.5)
    sub.add_argument("--corrupt", metavar="NAME,...", help="Dice under disturbances: all, or noise,blur,...")
    sub.add_argument("--severities", nargs="+", metavar="NAME=X,Y", default=[], help="instead of the usual five each")
    sub.add_argument("--out", help="ZIP file for all views of the picture; with --corrupt .json, .csv, .md or .png")

    sub = command(verify, "say whether the recorded numbers of a run still hold")
    sub.add_argument("folder", help="run folder")
    help_text = "where its pictures are now, data.NAME=VALUE (default: where the run says)"
    sub.add_argument("--data", nargs="+", default=[], help=help_text)
    sub.add_argument("--dataset", help="their layout (default: folder)")
    sub.add_argument("--tolerance", type=float, default=1e-3, help="where machine or versions differ (default: 0.001)")

    sub = command(list_, "list models, losses, datasets and papers")
    sub.add_argument("kind", nargs="?", choices=("models", "losses", "datasets", "papers"))

    sub = command(export, "write a trained model in half precision with its card, or as ONNX")
    sub.add_argument("--model", required=True, help="checkpoint or run folder")
    sub.add_argument("--to", required=True, help=".safetensors file to write, or .onnx (extra: onnx)")
    sub.add_argument("--test", nargs="+", default=[], metavar="FOLDER", help="data to score for the card, data.seed=1")
    help_text = "as ONNX in 8 bits, if the Dice on the test part of the data falls by at most 0.002"
    sub.add_argument("--int8", action="store_true", help=help_text)
    help_text = "with --int8: data whose train part gives the ranges; its test part is scored, or that of --test"
    sub.add_argument("--calibrate", nargs="+", default=[], metavar="FOLDER", help=help_text)
    sub.add_argument("--dataset", default="folder", help="their layout (default: folder)")


def _add_reproduce(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommand that trains a paper's rows."""
    sub = command(reproduce, "train a paper's rows: reported beside measured")
    sub.add_argument("paper", help="a name of `seglab list papers`")
    sub.add_argument("--data", metavar="DIR", help="folder with the paper's pictures")
    sub.add_argument("--dataset", help="layout of the folder (default: the paper's own data set)")
    sub.add_argument("--rows", nargs="+", metavar="LABEL", help="rows to train (default: all)")
    sub.add_argument("--seeds", type=int, default=1, help="seeds of every row (default: 1)")
    sub.add_argument("--epochs", type=int, help="epochs of every row (default: the paper's)")
    sub.add_argument("--size", type=int, help="side of the pictures in pixels (default: the paper's)")
    sub.add_argument("--weights", metavar="FILE", help="ImageNet weights of the paper's encoder")
    sub.add_argument("--quick", action="store_true", help="small models, few updates; needs no --data")
    sub.add_argument("--out", help="folder for runs and result; what is finished there is not trained again")


def _add_data(sub: argparse.ArgumentParser, text: str) -> None:
    """The arguments that say which pictures."""
    sub.add_argument("data", nargs="*", help=text)
    sub.add_argument("--dataset", default="folder", help="layout of the folders (default: folder)")


def _add_app(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommand that opens the app."""
    sub = command(app, "open the browser app")
    sub.add_argument("--models", nargs="+", metavar="FILE", default=[], help="your own, beside the shipped")
    sub.add_argument("--port", type=int, default=7860, help="on this computer only (default: 7860)")
    sub.add_argument("--public", action="store_true", help="let visitors in: no training; see .github/SECURITY.md")
    help_text = "with --public: a host name that visitors type; may be given again"
    sub.add_argument("--allow-host", action="append", metavar="NAME", default=[], help=help_text)
    sub.add_argument("--host", metavar="ADDRESS", help="with --public: where to listen (default: 127.0.0.1)")
    sub.add_argument("--root-path", metavar="URL", help="with --public: the page's full address behind a proxy")


def _add_data_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommands that deal with data only."""
    sub = command(check_data, "name what is wrong with a dataset")
    sub.add_argument("data", help="folder of the dataset")
    sub.add_argument("--dataset", default="folder", help="its layout (default: folder)")
    sub.add_argument("--fix", metavar="OUT", help="write a repaired copy to this new folder")
    sub.add_argument("--invert", nargs="+", metavar="NAME", default=[], help="masks to turn over in the repaired copy")

    sub = command(audit, "check whether the numbers of a printed table fit together")
    sub.add_argument("table", help="CSV file with columns such as name, dice, iou")

    sub = command(import_, "convert a dataset to the VOC layout")
    sub.add_argument("format", help="a name of `seglab list datasets`")
    sub.add_argument("source", help="folder of the dataset")
    sub.add_argument("out", help="new folder")

    sub = command(download, "fetch a dataset from its official address")
    sub.add_argument("name", help="isic2016, isic2017, isic2018, ph2 or sd900")
    sub.add_argument("--out", default="datasets", help="folder to put it in (default: datasets)")
    sub.add_argument("--part", nargs="+", choices=("train", "val", "test"), default=["train", "val", "test"])
    sub.add_argument("--sha256", nargs="+", metavar="FILE=HASH", default=[], help="hashes that the archives must have")
