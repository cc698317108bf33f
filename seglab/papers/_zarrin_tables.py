"""The printed tables of Zarrin and Nikkhah 2025, typed in; all scores in percent."""

from typing import Any

from seglab.papers._tables import PrintedTable, read_rows

__all__ = ["ABLATION", "FOLDS", "LOSSES", "MAIN", "MODELS", "NOISE", "RELATED", "SPLITS"]

SETS = ("isic2018", "isic2017", "ph2")
FOUR = "iou_image iou_image_sd dice_image dice_image_sd iou_pooled iou_pooled_sd dice_pooled dice_pooled_sd"
MAIN_NOTES = (
    "Columns mIoU, mDice, mIoU*, mDice*: means over pictures, and with a star over all pixels.",
    "All but ExpUNET and the proposed network are copied from the UCM-Net paper, another split and recipe.",
)

ISIC2018 = PrintedTable(
    "Comparison on ISIC 2018",
    "Table 4",
    read_rows(
        FOUR,
        """
        = TransUnet | 82.00 0.152 89.11 0.031 81.68 0.511 89.92 0.010
        = SANet | 80.37 0.124 87.87 0.114 79.39 0.135 88.51 0.084
        = SwinNet | 81.41 0.069 88.58 0.019 80.72 0.069 89.33 0.042
        = TransFuse-S | 81.69 0.128 88.82 0.134 81.29 0.084 89.68 0.070
        = UNet | 79.86 0.075 87.57 0.085 78.27 0.300 87.81 0.188
        = AttUNet | 80.05 0.079 87.62 0.078 78.38 0.151 87.88 0.095
        = MedT | 80.34 0.034 87.77 0.107 79.29 0.411 88.45 0.251
        = ConvUNeXt | 80.51 0.043 87.99 0.049 78.71 0.128 88.09 0.080
        = UNeXt-S | 80.70 0.226 88.17 0.194 79.26 0.497 88.43 0.309
        = MALUNet | 80.95 0.393 88.25 0.315 79.99 0.644 88.88 0.398
        = EGE-UNet | 81.16 0.104 88.36 0.086 80.28 0.363 89.06 0.223
        = UCM-Net | 81.26 0.030 88.48 0.109 80.85 0.251 89.35 0.111
        ExpUNET | 85.12 0.390 90.98 0.176 84.32 0.207 91.14 0.109
        Our Method | 86.47 0.183 91.63 0.086 85.13 0.157 92.37 0.420
        """,
        dataset="isic2018",
        n=520,
    ),
    MAIN_NOTES,
)
ISIC2017 = PrintedTable(
    "Comparison on ISIC 2017",
    "Table 5",
    read_rows(
        FOUR,
        """
        = TransUnet | 81.12 0.152 88.38 0.157 80.02 0.011 88.90 0.113
        = SANet | 79.34 0.023 87.04 0.155 79.34 0.102 88.15 0.060
        = SwinNet | 80.51 0.102 87.81 0.231 80.48 0.134 89.19 0.073
        = TransFuse-S | 80.73 0.312 88.03 0.111 79.87 0.109 88.81 0.058
        = UNet | 78.12 0.175 85.97 0.196 76.42 0.381 86.63 0.245
        = AttUNet | 78.45 0.113 86.22 0.124 77.14 0.097 87.10 0.062
        = MedT | 79.05 0.231 86.59 0.125 77.61 0.121 87.40 0.401
        = ConvUNeXt | 78.78 0.362 86.21 0.267 76.98 0.490 86.99 0.313
        = UNeXt-S | 78.79 0.234 86.30 0.140 77.48 0.466 87.31 0.296
        = MALUNet | 79.97 0.389 87.23 0.345 79.11 0.345 88.34 0.215
        = EGE-UNet | 80.22 0.237 87.24 0.149 79.71 0.411 88.71 0.255
        = UCM-Net | 80.71 0.345 87.66 0.221 79.29 0.188 88.45 0.117
        ExpUNET | 83.60 0.193 89.15 0.320 82.43 0.207 89.77 0.048
        Our Method | 85.67 0.237 90.19 0.173 83.86 0.046 90.98 0.392
        """,
        dataset="isic2017",
        n=600,
    ),
    MAIN_NOTES,
)
PH2 = PrintedTable(
    "Comparison on PH2",
    "Table 6",
    read_rows(
        FOUR,
        """
        = TransUnet | 90.77 0.030 95.09 0.014 91.89 0.148 95.77 0.080
        = SANet | 89.99 0.349 94.62 0.206 91.06 0.481 95.32 0.264
        = SwinNet | 88.92 0.493 94.03 0.289 89.96 0.388 94.71 0.215
        = TransFuse-S | 91.15 0.131 95.30 0.078 92.16 0.113 95.92 0.061
        = UNet | 89.09 0.224 94.13 0.112 90.08 0.545 94.78 0.302
        = AttUNet | 89.01 0.345 94.06 0.222 89.82 0.371 94.64 0.206
        = MedT | 87.77 0.099 93.35 0.063 88.53 0.338 93.92 0.190
        = ConvUNeXt | 89.46 0.056 94.33 0.035 90.39 0.172 94.95 0.095
        = UNeXt-S | 89.03 0.246 94.09 0.163 89.68 0.269 94.56 0.149
        = MALUNet | 87.75 0.378 93.35 0.214 88.19 0.329 93.73 0.186
        = EGE-UNet | 88.39 0.303 93.73 0.189 88.93 0.802 94.14 0.450
        = UCM-Net | 89.62 0.221 94.42 0.124 90.51 0.211 94.96 0.116
        ExpUNET | 91.01 0.234 94.52 0.176 91.86 0.324 94.96 0.109
        Our Method | 93.13 0.025 96.02 0.293 94.46 0.341 97.26 0.283
        """,
        dataset="ph2",
        n=40,
    ),
    MAIN_NOTES,
)
MAIN = {"isic2018": ISIC2018, "isic2017": ISIC2017, "ph2": PH2}


def _by_loss(text: str, dataset: str) -> tuple[dict[str, Any], ...]:
    """Rows of Table 7: IoU and Dice with four losses, then GFLOPs, spread over one row a loss."""
    rows = []
    for line in filter(None, map(str.strip, text.strip().splitlines())):
        name, _, rest = line.partition("|")
        *scores, gflops = map(float, rest.split())
        for loss, iou, dice in zip(("BCE", "Dice", "Focal", "AdaEXP"), scores[::2], scores[1::2], strict=True):
            one = {"name": name.strip(), "dataset": dataset, "loss": loss, "iou_image": iou, "dice_image": dice}
            rows.append({**one, "gflops": gflops, "copied": False})
    return tuple(rows)


MODELS = PrintedTable(
    "Architectures, encoders and losses",
    "Table 7",
    _by_loss(
        """
        TransUNet | 80.2 88.65 79.5 87.12 78.4 85.98 81.5 89.65 24.7278
        UNet | 79.3 88.4 79.5 88.6 77.2 85.5 79.9 88.71 54.7378
        AttUNet | 76 85.9 77.95 83.12 70.8 77.8 77.54 86.2 66.6318
        SwinNet | 76.5 86.6 75.4 81.5 73.3 80.4 79.51 87.3 30.475
        Ours (ResNet34) | 80.1 88.34 79.8 88.7 78.32 85.01 81.7 89.2 9.046
        Ours (ResNet50) | 81.21 88.87 82.14 88.99 79.95 85.65 85.41 90.3 39.701
        Ours (ResNet101) | 84.1 89.85 83.47 87.26 80.95 86.02 86.47 91.63 44.576
        """,
        "isic2018",
    )
    + _by_loss(
        """
        TransUNet | 80.8 88.96 79.8 86.4 77.6 85.64 81.9 89.74 24.7278
        UNet | 73.2 80.6 70.6 77.9 65.1 72.6 76.4 85.69 54.7378
        AttUNet | 70 77.3 69 76.2 65 71.8 73.45 80.8 66.6318
        SwinNet | 71.2 78.4 70.1 77.7 69.9 76.3 74.46 81.2 30.475
        Ours (ResNet34) | 79.1 86.24 78.7 85.8 79.32 85.51 81.4 89.2 9.046
        Ours (ResNet50) | 81.32 87.65 80.13 85.4 81.95 86.25 84.18 89.9 39.701
        Ours (ResNet101) | 83.7 89.2 82.42 88.5 80.12 85.8 85.67 90.19 44.576
        """,
        "isic2017",
    )
    + _by_loss(
        """
        TransUNet | 90.19 94.58 89.53 92.17 88.32 91.93 91.7 95.65 24.7278
        UNet | 89.34 91.37 88.49 91.54 85.21 90 90.8 93.72 54.7378
        AttUNet | 88.7 91.2 87.91 91.09 85.3 89.6 90.39 93.23 66.6318
        SwinNet | 88.1 90.6 87.8 90.6 86.9 91.1 89.51 92.21 30.475
        Ours (ResNet34) | 87.5 92.7 87.3 91.3 86.32 91.31 88.7 93.4 9.046
        Ours (ResNet50) | 90.3 93.4 88.14 92.3 87.95 93.5 92.2 94.6 39.701
        Ours (ResNet101) | 92.5 95.2 91.47 94.26 89.95 93.82 93.13 96.02 44.576
        """,
        "ph2",
    ),
    notes=("Columns mIoU and mDice. GFLOPs are printed without the size of the picture.",),
)


def _three_sets(columns: str, *texts: str) -> tuple[dict[str, Any], ...]:
    """Rows of a table with one block a data set."""
    return tuple(row for key, text in zip(SETS, texts, strict=True) for row in read_rows(columns, text, dataset=key))


LOSSES = PrintedTable(
    "The proposed network with five losses",
    "Table 8",
    _three_sets(
        "iou_image dice_image",
        "BCE | 84.10 89.85\n Dice | 83.47 87.26\n Focal | 80.95 86.02\n Exp | 85.12 90.98\n Ours | 86.47 91.63",
        "BCE | 83.21 88.10\n Dice | 82.45 87.74\n Focal | 79.16 85.19\n Exp | 84.96 89.93\n Ours | 85.67 90.19",
        "BCE | 89.32 91.24\n Dice | 88.43 90.34\n Focal | 84.93 88.62\n Exp | 91.74 92.52\n Ours | 93.13 96.02",
    ),
    notes=("Columns IoU and Dice, taken to be the means over pictures of Table 4.",),
)
ABLATION = PrintedTable(
    "Parts of the proposed network",
    "Table 9",
    _three_sets(
        "iou_image dice_image",
        """
        Baseline (BCE) | 84.10 89.85
        Baseline (BCE) + RFE | 85.08 90.30
        Baseline + RFE + Exp | 85.12 90.98
        Baseline + RFE + Adapt Exp | 86.47 91.63
        """,
        """
        Baseline (BCE) | 83.21 88.10
        Baseline (BCE) + RFE | 84.53 89.45
        Baseline + RFE + Exp | 84.96 89.93
        Baseline + RFE + Adapt Exp | 85.67 90.19
        """,
        """
        Baseline (BCE) | 89.32 91.24
        Baseline (BCE) + RFE | 90.18 91.89
        Baseline + RFE + Exp | 91.74 92.52
        Baseline + RFE + Adapt Exp | 93.13 96.02
        """,
    ),
    notes=("Columns IoU and Dice, taken to be the means over pictures of Table 4.",),
)
NOISE = PrintedTable(
    "Test pictures with Gaussian noise of unknown strength",
    "Table 10",
    _three_sets(
        "iou_image dice_image",
        "Ours (ResNet34) | 78.4 87.1\n Ours (ResNet50) | 79.1 87.7\n Ours (ResNet101) | 83.12 89.95",
        "Ours (ResNet34) | 79.4 87.4\n Ours (ResNet50) | 80.1 87.8\n Ours (ResNet101) | 81.67 87.19",
        "Ours (ResNet34) | 86.4 90.1\n Ours (ResNet50) | 87.1 92.7\n Ours (ResNet101) | 89.25 93.02",
    ),
)
FOLDS = PrintedTable(
    "Five folds of PH2",
    "Table 11",
    read_rows(
        "iou_image dice_image",
        """
        fold 1 | 93.099 95.724
        fold 2 | 93.118 96.182
        fold 3 | 93.138 95.683
        fold 4 | 93.149 96.215
        fold 5 | 93.162 96.303
        """,
        dataset="ph2",
        n=40,
    ),
    notes=("Printed below: mean 93.133 and 96.021, standard deviation 0.025 and 0.293.",),
)
SPLITS = PrintedTable(
    "Pictures of each part",
    "Table 2",
    (
        {"name": "ISIC 2018", "dataset": "isic2018", "n": 2594, "train": 1815, "val": 259, "test": 520},
        {"name": "ISIC 2017", "dataset": "isic2017", "n": 2000, "train": 1400, "val": 150, "test": 600},
        {"name": "PH2", "dataset": "ph2", "n": 200, "train": 140, "val": 20, "test": 40},
    ),
    notes=("The parts of ISIC 2017 sum to 2150.",),
)
RELATED = PrintedTable(
    "IoU of earlier work",
    "Table 1",
    tuple(
        {"name": row["name"], "dataset": key, "iou": row[key], "copied": True}
        for row in read_rows(
            "isic2017 isic2018 ph2",
            """
            Venkatesh et al. 2018 | 76.40 - -
            Al-Masni et al. 2018 | 77.11 - 84.79
            Goyal et al. 2019 | 79.30 - 80.00
            Baghersalimi et al. 2019 | 78.30 - 85.30
            Abraham and Khan 2019 | - 74.80 -
            Cui et al. 2019 | - 83.00 -
            Singh et al. 2019 | 78.94 77.20 -
            Saini et al. 2019 | 84.40 80.90 89.10
            Nathan and Kansal 2020 | 78.28 83.25 83.84
            Jin et al. 2021 | 80.00 79.40 -
            Saini et al. 2021 | 85.00 84.00 87.00
            Chen et al. 2022 | 80.36 - 86.15
            Liu et al. 2022 | 80.19 83.79 -
            Kaur et al. 2022 | 77.80 85.20 88.80
            Ruan et al. 2023 | 79.81 80.94 -
            Sun et al. 2023 | 79.26 84.18 86.86
            """,
        )
        for key in ("isic2017", "isic2018", "ph2")
        if key in row
    ),
    notes=("The definition differs from paper to paper.",),
)
