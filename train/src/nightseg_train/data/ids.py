"""Ids of Cityscapes: the names of its 19 train ids, and the way from its 34 label ids to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightseg_train import classes
from nightseg_train.classes import IGNORE

CITYSCAPES: tuple[str, ...] = classes.names(classes.CITYSCAPES)
# The label id of each train id, in order; every other label id is not scored.
LABEL_IDS: tuple[int, ...] = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABEL_IDS_MAX = 33  # above it, only 255 is an id (-1, the licence plate)
LABEL_IDS_END = "_labelIds"  # a label file whose stem ends so holds label ids, not train ids


def _table() -> NDArray[np.uint8]:
    table = np.full(256, IGNORE, np.uint8)
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    return table


TRAIN_ID_OF: NDArray[np.uint8] = _table()  # 256 entries: train id of a label id, or 255
