"""Liu 2025: a VGG16 U-Net on skin pictures, then the same with augmentation and CBAM together.

The paper compares two runs that differ in two things. The two runs between them, which it lacks, are rows here, so
that the gain can be given to the change that made it.

Reference:
    Z. Liu, "Image Recognition and Enhancements of the U-Net Model", Applied and Computational Engineering 172,
    163-172, 2025.
"""

from seglab.papers._paper import Fact, Measure, Paper, Row
from seglab.papers._tables import PrintedTable, read_rows

UNNAMED = "unnamed Kaggle set"
LOSS = {"alpha": 0.5, "gamma": 2.0}
CBAM = {"cbam": ("skip",), "cbam_style": "compact"}

RESULTS = PrintedTable(
    "Values at convergence, read off the curves by the author",
    "section 3, below figure 4",
    read_rows(
        "miou_2class_pooled",
        """
        U-Net | 0.65
        U-Net + augmentation + CBAM | 0.80
        """,
        dataset=UNNAMED,
        epochs=100,
    ),
    notes=(
        "Printed as 'training mIoU'; the code base that the paper uses computes it on the validation list.",
        "Training loss 0.20 and 0.18, validation loss 0.39 and 0.26, in the same order.",
        "No test set, and the two rows were scored on different validation pictures.",
    ),
)

GAINS = PrintedTable(
    "Gains claimed",
    "section 4",
    read_rows(
        "before after gain",
        """
        mIoU | 0.65 0.80 0.23
        training loss | 0.20 0.18 -0.10
        validation loss | 0.39 0.26 -0.33
        """,
    ),
    notes=("Improvements are printed without a sign; that of a loss is a fall.",),
)


def _printed(name: str, train_loss: float, val_loss: float) -> dict[str, dict[str, float]]:
    """What the paper says of one run."""
    miou = RESULTS.cell(name, "miou_2class_pooled")
    return {UNNAMED: {"mIoU": miou, "train loss": train_loss, "val loss": val_loss}}


PAPER = Paper(
    name="liu2025",
    title="Image Recognition and Enhancements of the U-Net Model",
    authors=("Zhaoxuan Liu",),
    venue="Applied and Computational Engineering 172, 163-172",
    year=2025,
    doi="",
    datasets=Fact(
        ("isic2016",),
        "inferred: 'over 1,200' skin pictures from Kaggle, not named; ISIC 2016 has 900 + 379",
    ),
    kind="skin",
    shares=Fact((0.8, 0.1, 0.1), "chosen: the paper splits 9:1 into train and val and has no test part"),
    split_note=(
        "The paper augments first and splits after, so a picture and its turned copy can land on both sides, and the "
        "two runs are scored on different validation sets. Here one split of the source pictures serves all rows, "
        "augmentation happens in training only, and scores are from a test part."
    ),
    num_classes=Fact(2, "paper: section 2.2.3, classes background and sick"),
    schedule={
        "epochs": Fact(100, "inferred: 20 numbered weight files, one every 5 epochs"),
        "freeze_epochs": Fact(50, "code: default of train.py; the paper says that there is a frozen phase"),
        "batch_size": Fact(2, "code: default of train.py"),
        "size": Fact(512, "paper: section 2.2.3"),
        "lr": Fact(1e-4, "code: default of train.py"),
        "min_lr": Fact(1e-6, "code: default of train.py"),
        "optimizer": Fact("adam", "code: default of train.py"),
        "schedule": Fact("cosine", "code: default of train.py"),
        "save_every": Fact(5, "paper: section 2.2.3"),
        "augment": Fact(True, "paper: section 2.2.2, the enhanced run; the rows say which"),
        "augment_rotation": Fact(180.0, "chosen: the paper gives no range"),
    },
    augmentation=Fact(
        "random rotation, flips, contrast, Gaussian blur, no ranges; offline, in the enhanced run only",
        "paper: section 2.2.2",
    ),
    measures={
        "mIoU": Measure(
            "miou_2class_pooled",
            "mean over the two classes of the IoU over all pixels, as the paper's code base computes it",
        ),
        "train loss": Measure("train_loss", "mean loss of the last epoch, augmented pictures where the row augments"),
        "val loss": Measure("val_loss", "mean loss on the validation part after the last epoch"),
    },
    rows=(
        Row(
            "U-Net", "vgg16_unet", "dice_focal", "paper: section 3, baseline; alpha and gamma from its code",
            loss_knobs=LOSS, config={"augment": False}, printed=_printed("U-Net", 0.20, 0.39), encoder="vgg16",
        ),
        Row(
            "U-Net + augmentation", "vgg16_unet", "dice_focal", "chosen: not in the paper; augmentation alone",
            loss_knobs=LOSS, encoder="vgg16",
        ),
        Row(
            "U-Net + CBAM", "vgg16_unet", "dice_focal", "chosen: not in the paper; CBAM alone",
            knobs=CBAM, loss_knobs=LOSS, config={"augment": False}, encoder="vgg16",
        ),
        Row(
            "U-Net + augmentation + CBAM", "vgg16_unet", "dice_focal",
            "paper: section 3, enhanced; place and form of CBAM inferred from its code base",
            knobs=CBAM, loss_knobs=LOSS, printed=_printed("U-Net + augmentation + CBAM", 0.18, 0.26), encoder="vgg16",
        ),
    ),
    baseline="U-Net",
    tables=(RESULTS, GAINS),
    not_run={"U-Net++, ResU-Net, Attention U-Net": "named in the paper, not run there"},
    open_questions=(
        "Which pictures were used is not said. We take ISIC 2016, the public set of that size.",
        "Where CBAM sits, its reduction and its kernel are not said. We put it on the skips, in the compact form of "
        "the same author's other networks.",
        "Optimiser, learning rate and batch size are not said. We take the defaults of the code base whose list of "
        "requirements the paper prints.",
        "The weights of Dice and focal loss are not said. We add them one to one, with alpha 0.5 and gamma 2.",
        "The paper starts from weights found in its log folder. Without such a file we train from scratch, and then "
        "without the frozen phase, because a frozen random encoder learns nothing.",
        "The ranges of the augmentation are not said. We use those of seglab.",
    ),
    contradictions=(
        "Augmentation and CBAM change together, so the gain belongs to neither alone.",
        "The gain of '23 %' is relative, (80 - 65) / 65; in points it is 15.",
        "Improvements are called statistically significant; there is no test, no repeat and no interval.",
        "mPA and mRecall are given as two measures; both are TP / (TP + FN) per class, one array in the code.",
        "Training mIoU is measured on the validation list in the code base.",
        "The unrest at epoch 50 is laid to the learning rate; the encoder is unfrozen there.",
        "The baseline of the code base is not free of augmentation: its loader always scales, flips and shifts colour.",
    ),
)  # fmt: skip
