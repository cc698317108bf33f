"""Zhang 2024: U-Net with CBAM in every encoder and decoder block, for defects on steel strip.

Reference:
    J. Zhang, "A Novel Defect Segmentation Model via Integrating Enhanced U-Net with Convolutional Block Attention
    Mechanisms", 2024.
"""

from typing import Any

from seglab.papers._paper import Fact, Measure, Paper, Row
from seglab.papers._tables import PrintedTable, read_rows

LOSS = {"alpha": 0.7}
COLUMNS = "accuracy precision miou_2class_pooled"
NOTES = (
    "Accuracy and precision are printed in percent, mIoU as a share; all are shares here.",
    "Neither the number of test pictures nor a recall is printed.",
    "The share of defect pixels is not printed; it was counted over all 900 masks of the public set.",
)

COMPARISON = PrintedTable(
    "Comparison with other networks on SD-saliency-900",
    "section 4.4.1",
    read_rows(
        COLUMNS,
        """
        Standard U-Net | 0.88 0.85 0.79
        Enhanced U-Net + CBAM | 0.92 0.89 0.87
        SegNet | 0.85 0.82 0.74
        FCN-8s | 0.86 0.83 0.76
        DeepLabv3+ | 0.90 0.87 0.82
        """,
        dataset="sd900",
        prevalence=0.1176,
    ),
    NOTES,
)
ABLATION = PrintedTable(
    "Ablation on SD-saliency-900",
    "section 4.3",
    read_rows(
        COLUMNS,
        """
        Standard U-Net | 0.88 0.85 0.79
        U-Net+ CBAM | 0.92 0.89 0.87
        """,
        dataset="sd900",
        prevalence=0.1176,
    ),
    NOTES,
)

GAINS = PrintedTable(
    "Gains of mIoU claimed",
    "abstract",
    read_rows("before after gain", "over U-Net | 0.79 0.87 0.05\n over DeepLabv3+ | 0.82 0.87 0.04"),
    notes=("Before and after are those of section 4.4.1.",),
)


def _row(label: str, name: str, model: str, origin: str, **rest: Any) -> Row:
    """A row with its three printed numbers."""
    words = {"Accuracy": "accuracy", "Precision": "precision", "mIoU": "miou_2class_pooled"}
    printed = {"sd900": {word: COMPARISON.cell(name, column) for word, column in words.items()}}
    return Row(label, model, "ce_dice", origin, loss_knobs=LOSS, printed=printed, **rest)


PAPER = Paper(
    name="zhang2024",
    title=(
        "A Novel Defect Segmentation Model via Integrating Enhanced U-Net with Convolutional Block Attention Mechanisms"
    ),
    authors=("Junyi Zhang",),
    venue="conference paper; the text at hand names no venue",
    year=2024,
    doi="",
    datasets=Fact(("sd900",), "paper: section 4.1"),
    kind="steel",
    shares=Fact((0.7, 0.15, 0.15), "chosen: the paper names no split"),
    split_note=(
        "The paper uses its 900 pictures for training and validation and names no split and no test part. Here all "
        "rows share one three-way split, and scores are from the test part."
    ),
    num_classes=Fact(2, "inferred: cross-entropy over classes"),
    schedule={
        "epochs": Fact(100, "paper: section 4.2, at most 100"),
        "batch_size": Fact(32, "paper: section 4.2"),
        "size": Fact(256, "chosen: 'a uniform resolution' is not given; the pictures are 200 x 200"),
        "lr": Fact(1e-3, "paper: section 4.2"),
        "optimizer": Fact("adam", "paper: section 4.2"),
        "schedule": Fact("plateau", "inferred: 'adjusted dynamically based on the validation loss'"),
        "patience": Fact(10, "chosen: early stopping is stated, its patience is not"),
        "augment": Fact(True, "paper: section 4.1"),
    },
    augmentation=Fact("rotation, flips and colour jitter, no ranges", "paper: section 4.1"),
    measures={
        "Accuracy": Measure("accuracy_pooled", "share of all pixels that are right"),
        "Precision": Measure("precision_pooled", "not defined in the paper; of the defect, over all pixels"),
        "mIoU": Measure("miou_2class_pooled", "'across all classes'; mean of defect and background, over all pixels"),
    },
    rows=(
        _row("U-Net", "Standard U-Net", "unet", "paper: section 4.3"),
        _row(
            "U-Net + CBAM", "Enhanced U-Net + CBAM", "unet",
            "paper: sections 3.2 and 3.3; ratio 16 and kernel 7 from the cited CBAM paper",
            knobs={"cbam": ("encoder", "bottleneck", "decoder")},
        ),
        _row("SegNet", "SegNet", "segnet", "paper: section 4.4.1; its settings are not given"),
        _row("FCN-8s", "FCN-8s", "fcn8s", "paper: section 4.4.1; its settings are not given"),
        _row("DeepLabv3+", "DeepLabv3+", "deeplabv3plus", "paper: section 4.4.1; its encoder is not given"),
    ),
    baseline="U-Net",
    tables=(COMPARISON, ABLATION, GAINS),
    open_questions=(
        "The split is not given. We split 70:15:15 by a seed.",
        "The size of the input is not given. We use 256.",
        "Reduction and kernel of CBAM are cited, not given. We take 16 and 7.",
        "Whether the skips carry the attended maps is left open. We take it that they do.",
        "The balance of the loss, 0.7, stands only in the caption of a figure of made-up curves. We use it.",
        "Settings and pretraining of the rivals are not given. We train all rows from scratch with one recipe.",
        "The patience of early stopping is not given.",
    ),
    contradictions=(
        "A mask without any defect has 88.2 % accuracy on this set; three of the five models are at or below it.",
        "At 92 % accuracy the mIoU of two classes over all pixels cannot be above 0.752; 0.87 is printed.",
        "Accuracy 0.88 with precision 0.85 would need a recall below 0.",
        "The gains are given as 5 % and 4 %; the tables say 8 and 5 points.",
        "Results on the Carvana set, on several sets and on real production are claimed; one set is used.",
        "Augmentation is called essential by an ablation that never switches it off.",
        "The loss curves are simulated, by the words of the caption.",
        "Recall is announced and never printed.",
    ),
)  # fmt: skip
