"""What each subcommand of `seglab` does: read the arguments, call one public function, print the result.

The imports stand in the functions: `seglab list` must not wait for what only training needs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seglab.settings import command_text, sort_items, values_of


def train(arguments: argparse.Namespace) -> int:
    """Train a model and write its run folder; several processes of torchrun train it together."""
    from seglab.distributed import one_voice

    with one_voice():
        return _train(arguments)


def _train(arguments: argparse.Namespace) -> int:
    """What each process does: train; what the first one does: score and record."""
    import torch

    import seglab
    from seglab.contract import require_name
    from seglab.data._roots import load_roots
    from seglab.distributed import is_first
    from seglab.experiments import num_classes_of
    from seglab.history import describe
    from seglab.records import Noted, Source, write_record

    roots, settings = sort_items(arguments.data)
    config = seglab.TrainConfig().override(settings.pop("", []))
    knobs, loss_knobs = values_of(settings.pop("model", [])), values_of(settings.pop("loss", []))
    loss = seglab.build_loss(arguments.loss, **loss_knobs)
    require_name("model", arguments.model, seglab.list_models())
    data_knobs = values_of(settings.pop("data", []))
    splits = load_roots(roots, arguments.dataset, data_knobs)
    for part in ("train", "val"):
        _require_pictures(splits, part, roots or [arguments.dataset])
    if settings:
        raise ValueError(f"settings must start with model., loss., data. or nothing; got {sorted(settings)[0]}.")
    torch.manual_seed(config.seed)
    model = seglab.build_model(arguments.model, num_classes_of(splits.train, arguments.loss), **knobs)
    parent = _start(Path(arguments.init), model) if arguments.init else {}
    out = Path(arguments.out or f"runs/{arguments.model}-{arguments.loss}")
    card = _card(arguments, roots, splits, config.to_dict(), parent)
    predictor = seglab.train(
        model, loss, *splits[:2], config, out=out, card=card, on_epoch=lambda row: print(describe(row), flush=True)
    )
    if not is_first():
        return 0
    scored = Noted(splits.val)
    report = seglab.evaluate(predictor, scored)
    report.save(out / "report.json")
    write_record(out, Source(arguments.dataset, tuple(roots), data_knobs), splits, "report.json", scored)
    value, n = report.values["dice_fg_image"]
    print(
        f"{out / 'best.safetensors'}: validation dice_fg_image {value:.4f} (n = {n}); test it with `seglab evaluate`."
    )
    return 0


def _start(path: Path, model: Any) -> dict[str, Any]:
    """Give a model the weights of a checkpoint or run folder; returns the checkpoint's card."""
    from seglab.checkpoint import load_into

    first = load_into(path / "best.safetensors" if path.is_dir() else path, model)
    return {"commands": [f"started from {path.name}, whose history is not recorded"], **first.card}


def _card(
    arguments: argparse.Namespace, roots: Sequence[str], splits: Any, config: dict[str, Any], parent: dict[str, Any]
) -> dict[str, Any]:
    """What a reader of the checkpoint wants to know of how it came about, from the first command on."""
    import torch

    from seglab.cards import installed_version

    return {
        "title": arguments.title or arguments.model,
        "data": {
            "roots": [Path(root.rpartition(":")[2]).name for root in roots] or [arguments.dataset],
            "split": splits.fingerprint(),
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
        },
        "commands": [*parent.get("commands", []), command_text(arguments.words, roots)],
        "trained_on": parent.get("trained_on", []),
        "config": config,
        "loss": arguments.loss,
        "versions": {"seglab": installed_version(), "torch": str(torch.__version__)},
    }


def evaluate(arguments: argparse.Namespace) -> int:
    """Score a model on the test part of a dataset (or another part)."""
    import numpy as np

    import seglab
    from seglab.commands._engine import on_engine
    from seglab.data._roots import load_roots

    roots, settings = sort_items(arguments.data)
    knobs = values_of(settings.pop("data", []))
    if settings:
        raise ValueError(f"settings of evaluate must start with data.; got {next(iter(settings.values()))[0]}.")
    predictor = seglab.Predictor.load(arguments.model, tile=arguments.tile, tta=arguments.tta)
    splits = load_roots(roots, arguments.dataset, knobs)
    data = _require_pictures(splits, arguments.part, roots or [arguments.dataset])
    out = Path(arguments.out) if arguments.out else None
    if out is not None and out.suffix not in {".json", ".csv", ".md", ".png"}:
        raise ValueError(f"report file must end in .json, .csv, .md or .png; got {out.name}.")
    images = (np.ascontiguousarray(data[index].image.permute(1, 2, 0).numpy()) for index in range(len(data)))
    predictor = on_engine(predictor, arguments.engine, images)
    from tqdm import tqdm

    with tqdm(total=len(data), disable=None, leave=False) as bar:
        report = seglab.evaluate(
            predictor, data, pixel_size_mm=arguments.pixel_size_mm, on_image=lambda done: bar.update()
        )
    print(f"part: {arguments.part}, split {splits.fingerprint()}")
    print(report)
    if out is not None:
        report.save(out)
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Write the mask of every picture as PNG, 0/255 for two classes, at the picture's own size."""
    from tqdm import tqdm

    import seglab
    from seglab.commands._engine import on_engine, readable
    from seglab.commands._predict import write_masks

    predictor = seglab.Predictor.load(arguments.model, tile=arguments.tile, tta=arguments.tta)
    out = Path(arguments.out)
    jobs = _jobs(arguments.input, out)
    if not 0 < arguments.threshold < 1:
        raise ValueError(f"threshold must be above 0 and below 1; got {arguments.threshold}.")
    predictor = on_engine(predictor, arguments.engine, readable((source for source, _ in jobs), predictor.size))
    failed = 0
    with tqdm(total=len(jobs), disable=None, leave=False) as bar:

        def on_picture(problem: Exception | None) -> None:
            nonlocal failed
            if problem is not None:
                print(f"seglab: {one_line(problem)}", file=sys.stderr)
                failed += 1
            bar.update()

        write_masks(predictor, jobs, arguments.threshold, on_picture)
    print(f"{len(jobs) - failed} masks in {out}" + (f", {failed} pictures could not be read" if failed else ""))
    return 2 if failed else 0


def compare(arguments: argparse.Namespace) -> int:
    """Compare models, on test pictures with a paired test, or on one picture with all views."""
    import seglab
    from seglab.commands._robustness import compare_disturbed
    from seglab.commands._side_by_side import side_by_side
    from seglab.data._roots import load_roots

    if arguments.image is None and not arguments.data:
        raise ValueError("compare needs --data FOLDER for a whole test set, or --image FILE for one picture.")
    predictors = {Path(path).stem if Path(path).is_file() else Path(path).name: seglab.Predictor.load(path)
                  for path in arguments.models}  # fmt: skip
    if len(predictors) < 2:
        raise ValueError(f"compare needs at least two different models; got {len(predictors)}.")
    if arguments.corrupt or arguments.severities:
        return compare_disturbed(arguments, predictors)
    if arguments.image is not None:
        comparison = seglab.compare(arguments.image, predictors, arguments.truth, arguments.threshold)
        print(comparison.verdict())
        print(comparison.to_markdown())
        if arguments.out:
            print(comparison.to_zip(Path(arguments.out)))
        return 0
    roots, settings = sort_items(arguments.data)
    splits = load_roots(roots, arguments.dataset, values_of(settings.get("data", [])))
    _require_pictures(splits, "test", roots or [arguments.dataset])
    reports = {name: seglab.evaluate(one, splits.test) for name, one in predictors.items()}
    print(f"test part, {len(splits.test)} pictures, split {splits.fingerprint()}")
    for name, report in reports.items():
        if "trained_on" in report.notes:
            print(f"{name}: {report.notes['trained_on']}.")
    print(side_by_side(reports))
    return 0


def check_data(arguments: argparse.Namespace) -> int:
    """Name what is wrong with a dataset before it is trained on; exit code 1 if there are errors."""
    from seglab.data._checks import check, fix

    root = Path(arguments.data)
    report = check(root, dataset=arguments.dataset)
    print(report.to_text())
    if arguments.fix:
        print(fix(root, Path(arguments.fix), dataset=arguments.dataset, invert=arguments.invert))
    return 0 if report.ok else 1


def import_(arguments: argparse.Namespace) -> int:
    """Convert a dataset of any layout to the VOC layout, with its split."""
    from seglab.data import load_dataset, voc

    splits = load_dataset(arguments.format, arguments.source)
    voc.write(splits, Path(arguments.out))
    print(f"{sum(map(len, splits))} pictures in {arguments.out}, in VOC layout")
    return 0


def download(arguments: argparse.Namespace) -> int:
    """Fetch a dataset from its official address."""
    from seglab.data._download import download as fetch

    pairs = [text.partition("=") for text in arguments.sha256]
    hashes = {name: value for name, _, value in pairs}
    print(fetch(arguments.name, Path(arguments.out), parts=arguments.part, sha256=hashes))
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """List the names that other commands accept."""
    import seglab
    from seglab.papers import list_papers

    tables = {"models": seglab.list_models, "losses": seglab.list_losses, "datasets": seglab.list_datasets}
    tables["papers"] = list_papers
    for kind in [arguments.kind] if arguments.kind else tables:
        names = tables[kind]()
        with_encoder = [name for name in names if name.startswith("smp_")]
        print(f"{kind}: {', '.join(name for name in names if name not in with_encoder)}")
        if with_encoder:
            print(f"{kind} with an encoder of choice (model.encoder=resnet50): {', '.join(with_encoder)}")
    return 0


def reproduce(arguments: argparse.Namespace) -> int:
    """Train the rows of a paper under one split and print what was reported beside what was measured."""
    from seglab.papers import reproduce as run

    out = Path(arguments.out or f"runs/{arguments.paper}{'-quick' if arguments.quick else ''}")
    result = run(
        arguments.paper,
        arguments.data,
        dataset=arguments.dataset,
        epochs=arguments.epochs,
        size=arguments.size,
        seeds=arguments.seeds,
        rows=arguments.rows,
        out=out,
        quick=arguments.quick,
        weights=arguments.weights,
        on_line=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(result)
    print(f"\n{out / 'reproduction.md'} and {out / 'reproduction.json'}")
    return 1 if any(one.failed for one in result.runs) else 0


def export(arguments: argparse.Namespace) -> int:
    """Write a trained model in half precision, with a card that says what it is and what it scored; or as ONNX."""
    if arguments.int8 or arguments.calibrate:
        from seglab.commands._int8 import export_int8

        return export_int8(arguments)
    import seglab
    from seglab.cards import publish, scores_of
    from seglab.data._roots import load_roots

    target = Path(arguments.to)
    if target.suffix not in {".safetensors", ".onnx"}:
        raise ValueError(f"target must end in .safetensors or .onnx; got {target.name}.")
    scores = []
    if arguments.test:
        predictor = seglab.Predictor.load(arguments.model)
        roots, settings = sort_items(arguments.test)
        knobs = values_of(settings.get("data", []))
        for root in roots:
            splits = load_roots([root], arguments.dataset, knobs)
            scores.append(scores_of(seglab.evaluate(predictor, splits.test), Path(root.rpartition(":")[2]).name))
    if target.suffix == ".onnx":
        from seglab.export import to_onnx

        print(to_onnx(arguments.model, target, scores=scores))
        return 0
    publish(Path(arguments.model), target, scores=scores)
    print(f"{target} and {target.with_suffix('.md')}")
    return 0


def _require_pictures(splits: Any, part: str, roots: Sequence[str]) -> Any:
    """A part of the data, which must not be empty; names where it came from."""
    data = getattr(splits, part)
    if not len(data):
        counts = ", ".join(f"{name} {len(one)}" for name, one in splits._asdict().items())
        raise ValueError(
            f"part {part} of {', '.join(roots)} must hold at least one picture; got {counts}. "
            "Add pictures or groups, or give other parts in splits.json or data.shares."
        )
    return data


def _jobs(inputs: Sequence[str], out: Path) -> list[tuple[Path, Path]]:
    """Pictures of files and folders with their mask files; nothing is written if two would share one."""
    from seglab.data import PICTURE_SUFFIXES

    sources = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and p.name[0] != ".")
            if not found:
                raise ValueError(f"folder {path} must hold pictures ({', '.join(PICTURE_SUFFIXES)}); got none.")
            sources.extend(found)
        elif path.exists():
            sources.append(path)
        else:
            raise FileNotFoundError(f"picture {path} must exist; got no file of that name.")
    targets: dict[Path, Path] = {}
    for source in sources:
        target = out / f"{source.stem}.png"
        if target in targets:
            raise ValueError(f"pictures must differ in name without ending; got {targets[target]} and {source}.")
        if target.exists() and target.samefile(source):
            raise ValueError(f"--out must not be the folder of the pictures; {target} would be overwritten.")
        targets[target] = source
    return [(source, target) for target, source in targets.items()]


def app(arguments: argparse.Namespace) -> int:
    """Open the browser app that compares models on your own pictures."""
    from seglab.access import public_access

    if not 1 <= arguments.port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535; got {arguments.port}.")
    given = (arguments.host, arguments.allow_host, arguments.root_path)
    access = public_access(*given, public=arguments.public)
    from seglab.page import run

    return run(arguments.models, arguments.port, access=access)


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
