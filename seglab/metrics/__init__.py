"""Scores of a segmentation: count once per image, derive everything from the counts.

`counts` gives (N, K, K) pixel counts per image; where you sum is the aggregation, in plain sight:

    c = counts(pred, target, num_classes)
    iou(c.sum(0))           pooled: one ratio over all pixels, (K,)
    iou(c)                  per image, (N, K)
    iou(c).nanmean(0)       mean over images, (K,)

A score that is not defined (0 / 0) is NaN, never 0 or 1, so that no absent class can flatter or spoil a mean unseen.
Everything returned is a torch tensor; ratios are float64. `aggregate` gives the usual means by their full names.

The same word stands for several numbers in the literature. What a name here means, and who prints it as what:

    iou_fg_image         mean over images of the object's IoU          "mIoU" of Zarrin 2025 and UCM-Net; MONAI, nnU-Net
    iou_fg_pooled        the object's IoU of all pixels together       "mIoU*" of Zarrin 2025, "miou" of EGE-UNet
    miou_2class_pooled   mean of object and background, pooled         "mIoU" of Liu 2025 and mmsegmentation
    miou_2class_image    mean over images of that mean                 "mIoU" of Toptas 2025 (inferred, not stated)
    dice_fg_image        mean over images of the object's Dice         "DSC", "Dice", "F1 per case"
    dice_fg_pooled       the object's Dice of all pixels together      "F1", "Dice*"
    mdice_2class_...     mean of object and background                 "mDice", "macro F1"
    precision_...        TP / (TP + FP)                                "PPV"; precision_macro: "mPrecision" of Liu 2025
    recall_...           TP / (TP + FN)                                "sensitivity", "SE", "TPR"
    recall_macro         mean over classes, pooled                     "mPA", "mRecall" of Liu 2025, balanced accuracy
    accuracy_macro       the same number as recall_macro               "mAcc" of mmsegmentation
    specificity_...      TN / (TN + FP)                                "SP", "TNR"
    accuracy_...         share of all pixels that are right            "Acc", "PA", "OA"
    hausdorff95_image    95 % Hausdorff distance, mean over images     "HD95", "HD"
    assd_image           average symmetric surface distance            "ASSD", "ASD"
    surface_dice_image   outlines within a tolerance                   "NSD", "NSD@t", "boundary Dice"
    ece, ece_band        calibration of all pixels, of those near a border

Wherever an argument is called `counts` it holds pixel counts, (..., K, K), rows true, columns predicted. Wherever
outlines are compared, `pred` and `target` are one object each, (N, H, W), bool or 0 and 1 (with more classes compare
one: pred == 2), and `pixel_size_mm`, above 0, is the side of a pixel; None measures in pixels. The outline of a mask
is its own pixels that have one of their four neighbours outside the mask; beyond the edge of the picture is outside.
Distances are Euclidean, from the centre of an outline pixel to the nearest outline pixel of the other mask.

Every function raises a ValueError that names the rule if a shape, a dtype, a label or an option does not fit.
"""

from seglab.metrics._aggregation import Mean, aggregate, per_class
from seglab.metrics._boundary import Boundary, Outline, assd, boundary, hausdorff95, surface_dice
from seglab.metrics._calibration import Calibration, calibration, calibration_of, confidence_sums
from seglab.metrics._ratios import accuracy, counts, dice, iou, precision, recall, specificity
from seglab.metrics._thresholds import counts_at_thresholds, probability_counts

__all__ = [
    "Boundary", "Calibration", "Mean", "Outline", "accuracy", "aggregate", "assd", "boundary", "calibration",
    "calibration_of", "confidence_sums", "counts", "counts_at_thresholds", "dice", "hausdorff95", "iou", "per_class",
    "precision", "probability_counts", "recall", "specificity", "surface_dice",
]  # fmt: skip
