"""What a run writes down so that somebody can check its numbers later: pictures, versions, machine, commit.

`record.json` lies beside the report of a run. Folders of pictures are written relative to the run folder, so that a
record does not tell whose disk it was.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from seglab.contract import Sample
from seglab.data import Dataset, Splits, list_datasets
from seglab.data._folds import fold_of, read_folds
from seglab.data._roots import load_roots
from seglab.data._seen import file_of
from seglab.files import atomic_text

__all__ = ["Noted", "Source", "environment", "git_commit", "read_record", "sample_digest", "write_record"]

FORMAT = "seglab-record-1"
RECORD = "record.json"
PACKAGES = (
    "seglab", "torch", "torchvision", "numpy", "opencv-python-headless", "pillow", "scipy", "safetensors",
    "segmentation-models-pytorch", "timm",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where the pictures of a run come from; plain values.

    Attributes:
        dataset: Layout of the folders that do not name their own.
        roots: Folders; one may name its layout, as in "ph2:FOLDER".
        knobs: Settings of the layout, for example the seed of the split.
        folds: File of folds, or None.
        fold: Which fold is the test part.

    Example:
        >>> source = Source("synthetic", knobs={"count": (2, 1, 1), "size": (32, 32)})
        >>> [len(part) for part in source.splits()]
        [2, 1, 1]
    """

    dataset: str
    roots: tuple[str, ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    folds: str | None = None
    fold: int = 0

    def splits(self) -> Splits:
        """The pictures, read from disk or generated.

        Raises:
            ValueError: If a folder does not hold what its layout promises.
            FileNotFoundError: If a folder is not there.
        """
        splits = load_roots(self.roots, self.dataset, self.knobs)
        return splits if self.folds is None else fold_of(splits, read_folds(Path(self.folds)), self.fold)

    def seen_from(self, folder: Path) -> dict[str, Any]:
        """The source as JSON holds it, paths relative to a folder."""
        return {
            "dataset": self.dataset,
            "roots": [_moved(root, lambda path: os.path.relpath(path, folder)) for root in self.roots],
            "knobs": dict(self.knobs),
            "folds": None if self.folds is None else os.path.relpath(self.folds, folder),
            "fold": self.fold,
        }

    @classmethod
    def read(cls, content: Mapping[str, Any], folder: Path) -> "Source":
        """What `seen_from` gave, seen from here.

        Raises:
            KeyError, TypeError: If it is something else.
        """
        knobs = {name: tuple(v) if isinstance(v, list) else v for name, v in dict(content["knobs"]).items()}
        folds = content["folds"]
        return cls(
            str(content["dataset"]),
            tuple(_moved(str(root), lambda path: str(folder / path)) for root in content["roots"]),
            knobs,
            None if folds is None else str(folder / folds),
            int(content["fold"]),
        )


class Noted:
    """A dataset that notes the digest of every picture and mask it gives out.

    Args:
        data: The dataset.

    Attributes:
        digests: By name of the picture, in the order they were asked for.

    Example:
        >>> noted = Noted(Source("synthetic", knobs={"count": (1, 1, 1), "size": (32, 32)}).splits().train)
        >>> noted[0].name in noted.digests
        True
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.digests: dict[str, str] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, the background first."""
        return self.data.classes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        sample = self.data[index]
        self.digests[sample.name] = sample_digest(sample)
        return sample

    def file(self, index: int) -> Path | None:
        """The picture's file, where the dataset can tell."""
        return file_of(self.data, index)


def sample_digest(sample: Sample) -> str:
    """First 16 hex digits of the SHA-256 of a picture's and its mask's pixels.

    Example:
        >>> zero = torch.zeros(3, 2, 2, dtype=torch.uint8)
        >>> sample_digest(Sample(zero, zero[0], "a")) == sample_digest(Sample(zero, zero[0], "b"))
        True
    """
    image = sample.image.permute(1, 2, 0).contiguous().numpy()
    return hashlib.sha256(image.tobytes() + sample.mask.contiguous().numpy().tobytes()).hexdigest()[:16]


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, machine and commit: what numbers may depend on beside the run's own settings.

    Args:
        device: Where the model computes.

    Example:
        >>> sorted(environment())
        ['commit', 'device', 'hardware', 'system', 'threads', 'versions']
    """
    versions = {name: found for name in PACKAGES if (found := _version(name))}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "system": f"{platform.system()} {platform.machine()}",
        "hardware": _hardware(device),
        "device": device,
        "threads": torch.get_num_threads(),
        "commit": git_commit(Path.cwd()),
    }


def git_commit(folder: Path) -> str:
    """Commit that a folder's git repository is at, or "unknown"; git itself is not started.

    A repository may say which programs git starts, so one from elsewhere must only be read.

    Example:
        >>> import tempfile
        >>> git_commit(Path(tempfile.mkdtemp()))
        'unknown'
    """
    for parent in (folder, *folder.parents):
        if (parent / ".git").exists():
            try:
                return _head(parent / ".git")
            except (OSError, ValueError):
                break
    return "unknown"


def write_record(out: Path, source: Source, splits: Splits, report: str, data: Noted) -> None:
    """Write what a later `seglab verify` compares with.

    Args:
        out: The run folder.
        source: Where the pictures come from.
        splits: What it gave.
        report: Name of the report's file in `out`.
        data: The part that was scored, after it was; on the CPU, as `train` returns a model.

    Raises:
        OSError: If it cannot be written.
    """
    parts = dict(zip(("train", "val", "test"), splits, strict=True))
    content = {
        "format": FORMAT,
        "report": report,
        "part": next(name for name, part in parts.items() if part is data.data),
        "source": source.seen_from(out),
        "split": splits.fingerprint(),
        "pictures": data.digests,
        "environment": environment(),
    }
    atomic_text(out / RECORD, json.dumps(content, indent=1) + "\n")


def read_record(out: Path) -> dict[str, Any] | None:
    """The record of a run folder, its "source" as a `Source`; None if the run has none.

    Raises:
        ValueError: If the file is something else.
    """
    path = out / RECORD
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        content["source"] = Source.read(content["source"], out)
        kinds = {"report": str, "part": str, "split": str, "pictures": dict, "environment": dict}
        wrong = [name for name, kind in kinds.items() if not isinstance(content[name], kind)]
        if (
            wrong
            or content["part"] not in ("train", "val", "test")
            or Path(content["report"]).name != content["report"]
        ):
            raise ValueError(f"a wrong {wrong[0] if wrong else 'part or report'}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"record {path} must be seglab's; got an error: {what}. Name the pictures yourself.") from None
    return dict(content)


def _moved(root: str, move: Callable[[str], str]) -> str:
    """A folder, with or without its layout in front, at another path."""
    prefix, _, rest = root.partition(":")
    return f"{prefix}:{move(rest)}" if rest and prefix in list_datasets() else move(root)


def _version(package: str) -> str:
    """Installed version of a package, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _hardware(device: str) -> str:
    """Processor or graphics card, in the maker's words."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(torch.device(device)))
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _head(git: Path) -> str:
    """The commit in a .git folder, or in what a .git file points to."""
    if git.is_file():  # a worktree
        git = git.parent / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return _commit(head)
    name = head.removeprefix("ref:").strip()
    shared = git / (git / "commondir").read_text(encoding="utf-8").strip() if (git / "commondir").is_file() else git
    for folder in (git, shared):
        if (folder / name).is_file():
            return _commit((folder / name).read_text(encoding="utf-8").strip())
    lines = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
    return _commit(next((line.split()[0] for line in lines if line.endswith(f" {name}")), ""))


def _commit(text: str) -> str:
    """The text, if it is the name of a commit."""
    if len(text) not in (40, 64) or set(text) - set("0123456789abcdef"):
        raise ValueError("not a commit")
    return text
