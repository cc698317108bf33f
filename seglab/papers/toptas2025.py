"""Toptas 2025: U-Net whose skips pass boundary and reverse attention (BA-RA), with four losses.

The text at hand holds headings, tables and references of the paper; its sentences, formulas and figures are missing.
What the module computes is therefore a reconstruction, and so are the settings of training.

Reference:
    B. Toptaş, "Enhanced Skin Lesion Segmentation via Attentive Reverse-Attention U-Net", Symmetry 17(11), 2002, 2025.
"""

from typing import Any

from seglab.papers._paper import Fact, Measure, Paper, Row
from seglab.papers._tables import PrintedTable, read_rows

SCORES = "params_m dice iou"
SCORES_NOTES = (
    "Columns DSC and mIoU. The author's own mIoU is likely a mean of two classes, that of others the lesion's IoU.",
    "That U-Net and Attention U-Net were run by the author is inferred from their scores.",
)
ISIC2018 = PrintedTable(
    "Comparison with other networks, first table (ISIC 2018, inferred)",
    "section 4.2, first table",
    read_rows(
        SCORES,
        """
        U-Net | 32.9 0.8417 0.8269
        Attention-U-Net | 33.3 0.8253 0.8151
        = Ms-RED | 3.8 0.8345 0.8999
        = CPFNet | 43.3 0.8292 0.8963
        = LeaNet | 0.11 0.8825 0.7839
        = AS-Net | 24.9 0.8955 0.8309
        = ACCPG-Net | 11.8 0.9081 0.8352
        = MCGFF-Net | 39.67 0.8907 0.8179
        Ours | 48 0.8871 0.8768
        """,
        dataset="isic2018",
    ),
    SCORES_NOTES,
)
PH2 = PrintedTable(
    "Comparison with other networks, second table (PH2, inferred)",
    "section 4.2, second table",
    read_rows(
        SCORES,
        """
        U-Net | 32.9 0.9293 0.9012
        Attention-U-Net | 33.3 0.8992 0.8673
        = AS-Net | 24.9 0.9305 0.8760
        = ICL-Net | - 0.9280 0.8725
        = ACCPG-Net | 11.8 0.9133 0.8427
        = MCGFF-Net | 39.67 0.9307 0.8752
        Ours | 48 0.9341 0.9078
        """,
        dataset="ph2",
    ),
    SCORES_NOTES,
)
EPOCHS = (20, 40, 60, 80, 100)


def _losses(text: str, dataset: str) -> tuple[dict[str, Any], ...]:
    """Rows of a table of losses: five DSC, then five mIoU, at five numbers of epochs."""
    rows = []
    for line in filter(None, map(str.strip, text.strip().splitlines())):
        name, _, rest = line.partition("|")
        values = [float(value) for value in rest.split()]
        for epochs, dice, iou in zip(EPOCHS, values[:5], values[5:], strict=True):
            found = {"name": f"Ours, {name.strip()}", "dataset": dataset, "loss": name.strip(), "epochs": epochs}
            rows.append({**found, "dice": dice, "iou": iou, "copied": False})
    return tuple(rows)


ISIC2018_LOSSES = PrintedTable(
    "Four losses at five numbers of epochs, first table (ISIC 2018, inferred)",
    "section 4.1, first table",
    _losses(
        """
        BCE | 0.8624 0.8821 0.8748 0.8767 0.8772 0.8446 0.8661 0.8544 0.8550 0.8601
        Tversky | 0.8544 0.8444 0.8690 0.8744 0.8796 0.8386 0.8296 0.8528 0.8562 0.8633
        Dice | 0.8708 0.8586 0.8795 0.8834 0.8728 0.8499 0.8403 0.8613 0.8731 0.8558
        Compound | 0.8677 0.8818 0.8796 0.8871 0.8780 0.8523 0.8631 0.8653 0.8768 0.8573
        """,
        "isic2018",
    ),
)
PH2_LOSSES = PrintedTable(
    "Four losses at five numbers of epochs, second table (PH2, inferred)",
    "section 4.1, second table",
    _losses(
        """
        BCE | 0.7697 0.9095 0.9233 0.8981 0.9190 0.7280 0.8680 0.8983 0.8587 0.8905
        Tversky | 0.8183 0.8771 0.9149 0.8965 0.9232 0.7903 0.8266 0.8779 0.8630 0.8954
        Dice | 0.7562 0.7979 0.9304 0.9146 0.9181 0.7426 0.7104 0.9033 0.8800 0.8803
        Compound | 0.8265 0.8988 0.9341 0.9150 0.9106 0.7994 0.8996 0.9078 0.8846 0.8809
        """,
        "ph2",
    ),
)


def _printed(name: str) -> dict[str, dict[str, float]]:
    """Printed scores of a network on both sets."""
    both = {"isic2018": ISIC2018, "ph2": PH2}
    return {key: {"DSC": one.cell(name, "dice"), "mIoU": one.cell(name, "iou")} for key, one in both.items()}


def _at_100(loss: str) -> dict[str, dict[str, float]]:
    """Printed scores of a loss at 100 epochs, the budget that all rows get here."""
    both = {"isic2018": ISIC2018_LOSSES, "ph2": PH2_LOSSES}
    name = f"Ours, {loss}"
    return {
        key: {"DSC at 100": one.cell(name, "dice", epochs=100), "mIoU at 100": one.cell(name, "iou", epochs=100)}
        for key, one in both.items()
    }


def _ours(loss: str, name: str, **knobs: float) -> Row:
    """The proposed network with one of the four losses."""
    printed = _at_100(loss)
    if loss == "Compound":
        printed = {key: _printed("Ours")[key] | numbers for key, numbers in printed.items()}
    origin = "paper: section 4.1; the module is a reconstruction, the constants of the loss are ours"
    return Row(f"BA-RA U-Net, {loss}", "reverse_attention_unet", name, origin, loss_knobs=knobs, printed=printed)


DSC = Measure("dice_fg_image", "the formula is not in the text at hand; mean over pictures of the lesion's Dice")
MIOU = Measure("miou_2class_image", "inferred: a printed mIoU above its DSC is only possible with the background in it")

PAPER = Paper(
    name="toptas2025",
    title="Enhanced Skin Lesion Segmentation via Attentive Reverse-Attention U-Net",
    authors=("Buket Toptaş",),
    venue="Symmetry 17(11), 2002",
    year=2025,
    doi="10.3390/sym17112002",
    datasets=Fact(("isic2018", "ph2"), "inferred: the tables' copied rows are those of ISIC 2018 and PH2"),
    kind="skin",
    shares=Fact((0.7, 0.1, 0.2), "chosen: the split is not in the text at hand"),
    split_note=(
        "How the paper splits is not in the text at hand; its best number of epochs is taken per data set from the "
        "table of results itself. Here the best epoch is chosen on a validation part, and scores are from a test part "
        "that nothing was chosen on."
    ),
    num_classes=Fact(1, "inferred: BCE, Dice and Tversky of one lesion map"),
    schedule={
        "epochs": Fact(100, "paper: section 4.1, the largest number"),
        "batch_size": Fact(8, "chosen: not in the text at hand"),
        "size": Fact(256, "chosen: not in the text at hand"),
        "lr": Fact(1e-4, "chosen: not in the text at hand"),
        "optimizer": Fact("adam", "chosen: not in the text at hand"),
        "schedule": Fact("cosine", "chosen: not in the text at hand"),
        "augment": Fact(True, "chosen: not in the text at hand"),
    },
    augmentation=Fact("seglab's", "chosen: not in the text at hand"),
    measures={
        "DSC": DSC,
        "mIoU": MIOU,
        "DSC at 100": Measure(DSC.name, "the same, from the table of losses at 100 epochs"),
        "mIoU at 100": Measure(MIOU.name, "the same, from the table of losses at 100 epochs"),
    },
    rows=(
        Row(
            "U-Net", "unet", "compound", "paper: section 4.2; its loss is not given, so that of the proposed network",
            printed=_printed("U-Net"),
        ),
        Row(
            "Attention U-Net", "attention_unet", "compound", "paper: section 4.2; its loss as for U-Net",
            printed=_printed("Attention-U-Net"),
        ),
        _ours("Compound", "compound"),
        _ours("BCE", "bce"),
        _ours("Dice", "dice"),
        _ours("Tversky", "tversky", alpha=0.3, beta=0.7),
    ),
    baseline="U-Net",
    tables=(ISIC2018, PH2, ISIC2018_LOSSES, PH2_LOSSES),
    not_run={
        "Ms-RED, CPFNet, LeaNet, AS-Net, ICL-Net, ACCPG-Net, MCGFF-Net": "copied rows; no such model in seglab",
    },
    open_questions=(
        "What the module computes is not in the text at hand. We weigh each skip by 1 + reverse + boundary map.",
        "The compound loss is not defined in the text at hand. We add BCE and Dice one to one.",
        "Alpha and beta of Tversky are not in the text at hand. We take 0.3 and 0.7, the cited paper's.",
        "Split, input size, batch, optimiser, learning rate and augmentation are not in the text at hand: ours.",
        "Which table belongs to which data set is inferred from the copied rows.",
        "The printed size of 48 million parameters cannot be checked without the definition of the module.",
    ),
    contradictions=(
        "Ms-RED and CPFNet have DSC and mIoU exchanged: a mean IoU cannot be above the mean Dice of one class.",
        "PH2, compound, 40 epochs: mIoU 0.8996 above DSC 0.8988, so the author's mIoU is not the lesion's IoU, while "
        "the copied rows in the same column are.",
        "LeaNet's DSC 0.8825 is above 0.8789, the highest that its mIoU of 0.7839 allows.",
        "With the exchange undone the proposed network is sixth of nine by DSC on ISIC 2018.",
        "The number of epochs is 80 for one set and 60 for the other; at 100 for all, Tversky is best on both.",
        "PH2, Dice loss: 0.7979 at 40 epochs and 0.9304 at 60; the losses that are compared differ by about 0.01.",
        "A question about the balance of the data sets is listed; no table answers it.",
    ),
)  # fmt: skip
