"""Boudaieb et al. 2025: U-Net on a pretrained ResNet50V2 with focal loss, trained on PH2, tested on ISIC 2016.

Encoder, loss and augmentation differ between the paper's rows. The rows that change one thing at a time, which it
lacks, are added here.

Reference:
    A. Boudaieb, M. Salem, L. Mahmoudi and Y. Fekir, "Addressing Class Imbalance in Skin Lesion Segmentation: A U-NET
    Approach with Focal Loss and RESNET50V2", Journal of Information Systems Engineering and Management 10(58s), 2025.
"""

from seglab.papers._paper import Fact, Measure, Paper, Row
from seglab.papers._tables import PrintedTable, read_rows

DROPOUT = {"dropout": 0.3, "dropout_place": "bottleneck"}
FOCAL = {"alpha": 0.8, "gamma": 2.0, "uniform_alpha": True}
ENCODER = "resnet50v2"

COMPARISON = PrintedTable(
    "Comparison of three approaches",
    "sections 4.3 and 4.5 (figure 7)",
    read_rows(
        "dice iou recall specificity",
        """
        U-Net + augmentation | 0.882 - 0.863 -
        ResNet50V2-U-Net, focal | 0.929 - 0.906 -
        ResNet50V2-U-Net, focal + augmentation | 0.938 0.884 0.921 0.980
        """,
        dataset="isic2016",
        n=379,
    ),
    notes=("Read from the sentences; the figure's other bars are not in the text.",),
)
GAINS = PrintedTable(
    "Gains over U-Net claimed",
    "section 4.5",
    read_rows(
        "before after gain",
        """
        Dice, without augmentation | 0.882 0.929 0.053
        sensitivity, without augmentation | 0.863 0.906 0.050
        Dice, with augmentation | 0.882 0.938 0.063
        """,
    ),
    notes=("A gain of 7.9 % in Jaccard is printed too, without the numbers it is between.",),
)
ABSTRACT = PrintedTable(
    "Scores of the abstract",
    "abstract",
    read_rows("dice iou", "proposed | 0.96 0.97", dataset="ph2 and isic2016"),
    notes=("A Jaccard index above its Dice coefficient is not possible.",),
)
CURVES = PrintedTable(
    "Where the accuracy curves end",
    "section 4.3",
    read_rows(
        "accuracy",
        """
        with augmentation | 0.92
        without augmentation | 0.97
        """,
        dataset="ph2",
        epochs=50,
    ),
    notes=("Final loss 0.14 with and 0.11 without augmentation, called lower.",),
)
CASES = PrintedTable(
    "Five chosen pictures",
    "Table 2",
    read_rows(
        "dice iou",
        """
        low contrast and dark circular border | 0.965 0.933
        hair | 0.952 0.908
        colour and texture variation | 0.963 0.929
        small lesion | 0.909 0.833
        foreign object | 0.941 0.889
        """,
        dataset="isic2016",
        n=1,
    ),
)


def _printed(name: str) -> dict[str, dict[str, float]]:
    """What the paper prints for one row."""
    words = {"Dice": "dice", "Jaccard": "iou", "Sensitivity": "recall", "Specificity": "specificity"}
    row = next(row for row in COMPARISON.rows if row["name"] == name)
    return {"isic2016": {word: row[column] for word, column in words.items() if column in row}}


PAPER = Paper(
    name="boudaieb2025",
    title="Addressing Class Imbalance in Skin Lesion Segmentation: A U-NET Approach with Focal Loss and RESNET50V2",
    authors=("Ahmed Boudaieb", "Mohammed Salem", "Laouni Mahmoudi", "Youcef Fekir"),
    venue="Journal of Information Systems Engineering and Management 10(58s)",
    year=2025,
    doi="",
    datasets=Fact(("ph2",), "paper: section 4.1"),
    test_dataset=Fact("isic2016", "paper: section 4.1, 379 pictures"),
    kind="skin",
    shares=Fact((0.8, 0.1, 0.1), "chosen: the split of PH2 into train and val is not given"),
    split_note=(
        "The paper trains and validates on PH2, without saying how it is split, and tests on another set, ISIC 2016. "
        "So do we, if both are there; a tenth of PH2 is left unused then. With one set alone, its own test part is "
        "scored."
    ),
    num_classes=Fact(1, "inferred: the loss is written for one probability; section 3.1 says softmax"),
    schedule={
        "epochs": Fact(50, "paper: Table 1"),
        "batch_size": Fact(16, "paper: Table 1"),
        "size": Fact(224, "paper: Table 1; section 4.1 says 256"),
        "lr": Fact(1e-4, "paper: Table 1"),
        "min_lr": Fact(1e-6, "paper: Table 1"),
        "optimizer": Fact("adam", "paper: Table 1"),
        "schedule": Fact("plateau", "paper: Table 1, factor 0.2 after 5 epochs; ours watches the score, not the loss"),
        "patience": Fact(10, "paper: Table 1"),
        "augment": Fact(True, "paper: section 4.5; the rows say which"),
        "augment_rotation": Fact(30.0, "paper: section 3.3.1"),
    },
    augmentation=Fact(
        "on the fly: rotation up to 30 degrees, flips both ways, zoom up to 20 %, shear without a range",
        "paper: section 3.3.1",
    ),
    measures={
        "Dice": Measure("dice_fg_pooled", "of TP, FP and FN; the printed pair fits sums over all pixels"),
        "Jaccard": Measure("iou_fg_pooled", "of TP, FP and FN, as Dice"),
        "Sensitivity": Measure("recall_pooled", "TP / (TP + FN); taken over all pixels, as Dice"),
        "Specificity": Measure("specificity_pooled", "TN / (TN + FP); taken over all pixels, as Dice"),
    },
    rows=(
        Row(
            "U-Net + augmentation", "unet", "bce", "paper: section 4.5; its loss is not given, Table 1 says BCE",
            printed=_printed("U-Net + augmentation"),
        ),
        Row(
            "U-Net, focal + augmentation", "unet", "focal", "chosen: not in the paper; the loss alone",
            loss_knobs=FOCAL,
        ),
        Row(
            "ResNet50V2-U-Net, BCE + augmentation", "resnet50v2_unet", "bce",
            "chosen: not in the paper; the encoder alone", knobs=DROPOUT, encoder=ENCODER,
        ),
        Row(
            "ResNet50V2-U-Net, focal", "resnet50v2_unet", "focal", "paper: sections 3.3 and 4.3",
            knobs=DROPOUT, loss_knobs=FOCAL, config={"augment": False},
            printed=_printed("ResNet50V2-U-Net, focal"), encoder=ENCODER,
        ),
        Row(
            "ResNet50V2-U-Net, focal + augmentation", "resnet50v2_unet", "focal", "paper: sections 3.3 and 4.5",
            knobs=DROPOUT, loss_knobs=FOCAL,
            printed=_printed("ResNet50V2-U-Net, focal + augmentation"), encoder=ENCODER,
        ),
    ),
    baseline="U-Net + augmentation",
    tables=(COMPARISON, GAINS, ABSTRACT, CURVES, CASES),
    open_questions=(
        "How PH2 is split into train and validation is not given. We split by a seed.",
        "Whether scores are means over pictures or sums over pixels is not said. We compare with sums over pixels, "
        "which the printed Dice and Jaccard fit.",
        "The loss of the U-Net baseline is not given. We use BCE, and add the row with focal loss.",
        "Where the dropout of 0.3 sits is not said. We put it after the bottleneck.",
        "The range of the shear is not given. We use seglab's ranges of zoom, shear and colour.",
        "The encoder starts from ImageNet weights. Without such a file every row is trained from scratch.",
    ),
    contradictions=(
        "Table 1 and section 4.2 name BCE as the loss; section 3.3.3 and the title name focal loss.",
        "The abstract has a Jaccard index of 97 % above a Dice of 96 %, and neither is in the results.",
        "The printed formula of accuracy has TP + FP above the line; TN belongs there.",
        "Alpha multiplies both classes alike, so it balances nothing; under Adam a constant factor has no effect.",
        "Augmentation is called better; the curves end at a higher loss and a lower accuracy with it.",
        "Input size is 224 in Table 1 and 256 in section 4.1; the output is softmax in the text, sigmoid in the loss.",
        "Gains of Dice and sensitivity are relative, the gain of Jaccard is in points and is called sensitivity.",
        "From Dice, sensitivity and specificity about a third of the test pixels would be lesion, the share of PH2.",
        "Encoder, loss and augmentation change together; no row changes one of them.",
    ),
)  # fmt: skip
