"""`seglab audit`: can the numbers of a printed table be what their names say?"""

import argparse

__all__ = ["audit"]


def audit(arguments: argparse.Namespace) -> int:
    """Hold the numbers of a printed table against what scores must obey; findings are printed, exit code 0.

    Columns of the CSV file: name, dataset, n, prevalence, accuracy, precision, recall, specificity; dice and iou, alone
    or with _image or _pooled; miou_2class_pooled, miou_2class_image; copied. Shares or percent, a whole column alike.
    """
    from seglab.stats import audit as check

    try:
        print(check(arguments.table))
    except ValueError as error:
        if str(arguments.table) in str(error):
            raise
        raise ValueError(f"{arguments.table}: {error}") from None
    return 0
