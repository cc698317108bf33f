"""Zarrin and Nikkhah 2025: ResNet U-Net whose skips fuse neighbouring scales (RFE), with an adaptive exponential loss.

Reference:
    M. Zarrin and H. Nikkhah, "A Novel Hybrid Deep Learning Model with Receptive Field-Enhanced Skip Connections and
    Adaptive Loss for Medical Image Segmentation", Journal of AI and Data Mining, 2025.
"""

from typing import Any

from seglab.papers._paper import Fact, Measure, Paper, Row
from seglab.papers._zarrin_tables import ABLATION, FOLDS, LOSSES, MAIN, MODELS, NOISE, RELATED, SPLITS

SETS = ("isic2018", "isic2017", "ph2")
WORDS = {"mIoU": "iou_image", "mDice": "dice_image", "mIoU*": "iou_pooled", "mDice*": "dice_pooled"}
RFE = "rfe_unet"
ENCODER = "resnet101"


def _shares(table: Any, name: str, **keys: str) -> dict[str, dict[str, float]]:
    """Printed percentages of one row on the three sets, as shares; `table` may be one table or one a set."""
    printed = {}
    for key in SETS:
        one = table[key] if isinstance(table, dict) else table
        row = next(row for row in one.rows if {**row, "dataset": key, "name": name, **keys} == dict(row))
        printed[key] = {word: round(row[column] / 100, 6) for word, column in WORDS.items() if column in row}
    return printed


def _ours(label: str, loss: str, where: str, printed: dict[str, dict[str, float]], **knobs: Any) -> Row:
    """A row of the proposed network, or of its baseline."""
    knobs = {"encoder": ENCODER, **knobs}
    return Row(label, RFE, loss, f"paper: {where}", knobs=knobs, printed=printed, encoder=str(knobs["encoder"]))


def _rival(label: str, name: str, model: str, **rest: Any) -> Row:
    """A network that the paper trained itself, with BCE."""
    return Row(label, model, "bce", "paper: Table 7, BCE", printed=_shares(MODELS, name, loss="BCE"), **rest)


def _copied(label: str, name: str, model: str, **rest: Any) -> Row:
    """A network whose numbers the paper copied; the loss is the one of its own code."""
    origin = "cited: Tables 4 to 6, copied from the UCM-Net paper; BCE + Dice as in these networks' code"
    return Row(label, model, "bce_dice", origin, printed=_shares(MAIN, name), copied=True, **rest)


def _headline() -> dict[str, dict[str, float]]:
    """What is printed for the whole method: the same numbers in Tables 4 to 9."""
    return _shares(MAIN, "Our Method")


PAPER = Paper(
    name="zarrin2025",
    title=(
        "A Novel Hybrid Deep Learning Model with Receptive Field-Enhanced Skip Connections and Adaptive Loss for "
        "Medical Image Segmentation"
    ),
    authors=("Mahdi Zarrin", "Haniyeh Nikkhah"),
    venue="Journal of AI and Data Mining",
    year=2025,
    doi="10.22044/jadm.2025.16467.2771",
    datasets=Fact(SETS, "paper: section 4.1"),
    kind="skin",
    shares=Fact((0.7, 0.1, 0.2), "paper: Table 2, for ISIC 2018 and PH2"),
    split_note=(
        "The paper splits 70:10:20 once; which picture is where is not given, and the numbers of most rivals come from "
        "another paper with a 70:30 split. Its PH2 row is a mean of five folds beside single splits of the others. "
        "Here every row is trained and scored on one split; where a set has official parts, on those."
    ),
    num_classes=Fact(1, "inferred: eq. 3 is written for one probability; a softmax of two channels is the same"),
    schedule={
        "epochs": Fact(50, "paper: Table 3"),
        "batch_size": Fact(8, "paper: Table 3"),
        "size": Fact(256, "paper: section 4.2"),
        "lr": Fact(0.01, "paper: section 4.2, ISIC 2018 and PH2"),
        "min_lr": Fact(0.0, "paper: section 4.2, the schedule ends at 0"),
        "optimizer": Fact("adam", "paper: Table 3"),
        "weight_decay": Fact(1e-4, "paper: section 4.2"),
        "schedule": Fact("poly", "paper: section 4.2, power 0.9"),
        "augment": Fact(False, "paper: none is named"),
    },
    schedule_of={"isic2017": {"lr": Fact(0.001, "inferred: Table 3 lists .001 and .01, the text .01 for the others")}},
    augmentation=Fact("none named", "paper: section 5.1.5 B says none was used against noise"),
    measures={
        "mIoU": Measure("iou_fg_image", "eq. 9, mean over pictures of the lesion's IoU"),
        "mDice": Measure("dice_fg_image", "eq. 11, mean over pictures; eq. 10 has the union below the line, a slip"),
        "mIoU*": Measure("iou_fg_pooled", "eq. 13, over all pixels of all pictures"),
        "mDice*": Measure("dice_fg_pooled", "eq. 15, over all pixels of all pictures"),
    },
    rows=(
        _ours("Baseline, BCE", "bce", "Table 9", _shares(ABLATION, "Baseline (BCE)"), rfe=False),
        _ours("+ RFE, BCE", "bce", "Table 9", _shares(ABLATION, "Baseline (BCE) + RFE")),
        _ours("+ RFE, Exp", "exponential", "Table 9", _shares(ABLATION, "Baseline + RFE + Exp")),
        _ours("+ RFE, Adapt Exp", "adaptive_exponential", "Tables 4 to 9", _headline()),
        _ours("+ RFE, Dice", "dice", "Table 8", _shares(LOSSES, "Dice")),
        _ours("+ RFE, Focal", "focal", "Table 8", _shares(LOSSES, "Focal")),
        _ours(
            "+ RFE, Adapt Exp, ResNet50", "adaptive_exponential", "Table 7",
            _shares(MODELS, "Ours (ResNet50)", loss="AdaEXP"), encoder="resnet50",
        ),
        _ours(
            "+ RFE, Adapt Exp, ResNet34", "adaptive_exponential", "Table 7",
            _shares(MODELS, "Ours (ResNet34)", loss="AdaEXP"), encoder="resnet34",
        ),
        _rival("U-Net, BCE", "UNet", "unet"),
        _rival("Attention U-Net, BCE", "AttUNet", "attention_unet"),
        _rival("TransUNet, BCE", "TransUNet", "transunet"),
        _rival("Swin-Unet, BCE", "SwinNet", "swin_unet"),
        _copied("UNeXt-S", "UNeXt-S", "unext", knobs={"size": "small"}),
        _copied("MALUNet", "MALUNet", "malunet"),
        _copied("EGE-UNet", "EGE-UNet", "egeunet"),
        _copied("UCM-Net", "UCM-Net", "ucmnet"),
    ),
    baseline="Baseline, BCE",
    tables=(*MAIN.values(), MODELS, LOSSES, ABLATION, NOISE, FOLDS, SPLITS, RELATED),
    not_run={
        "SANet, TransFuse-S, MedT, ConvUNeXt": "copied rows; no such model in seglab",
        "ResUNet": "named in the text of section 5.1.2, in no table",
        "ExpUNET": "its printed IoU and Dice on ISIC 2018 are those of the row '+ RFE, Exp'",
    },
    open_questions=(
        "Maps i and i + 1 differ in size, and up-sampling is said to come after C2f. We resize the deeper one before.",
        "Widths and number of bottlenecks of C2f are not given. We use one, and the width of the level.",
        "Epsilon of the adaptive loss is not given, nor what a picture without a lesion costs.",
        "The fixed weights of the Exp loss are not given. We weigh both classes alike.",
        "Gamma and alpha of the focal loss are not given. We use gamma 2 without alpha.",
        "The learning rate of ISIC 2017 is only listed. We take 0.001.",
        "The recipe of the rivals is not given. All rows here get the paper's own recipe.",
        "The encoders start from ImageNet weights. Without such a file every row is trained from scratch.",
        "What the numbers after the plus-minus signs are taken over is not said.",
    ),
    contradictions=(
        "Scores over all pixels obey Dice = 2 IoU / (1 + IoU); the paper's own rows miss it by 0.1 to 0.8 points.",
        "The plus-minus of the PH2 row, 0.025 and 0.293, is the spread of the five folds: a mean of folds beside "
        "single splits.",
        "Five folds of 40 pictures differ by 0.025 points; chance alone gives 0.6 to 1.3.",
        "One experiment has several results: ResNet101 with BCE on ISIC 2017 is 83.7 / 89.2 in Table 7 and 83.21 / "
        "88.10 in Table 8.",
        "The network with RFE and BCE is 84.10 in Table 8, which is the baseline without RFE in Table 9.",
        "The new loss is said to improve every model; Attention U-Net on ISIC 2018 has 77.54 against 77.95.",
        "ResNet101 is said to be always best; with Dice loss on ISIC 2018 ResNet50 has the higher Dice.",
        "U-Net with Dice loss, 79.5 / 88.6, is above the highest mean Dice that its mean IoU allows.",
        "The conditions are called those of UCM-Net; that code has another split, optimiser, schedule and length.",
        "The proof that the loss is convex has a wrong sign; it is not convex below a probability of 0.382.",
        "TensorFlow is named; the printed GFLOPs of U-Net are those of a PyTorch network, to the last digit.",
        "The parts of ISIC 2017 sum to 2150 of 2000 pictures.",
        "The mean Dice of the folds is given as 93.13 in the text; that is the IoU.",
    ),
)  # fmt: skip
