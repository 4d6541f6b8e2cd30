"""Pictures and labels of the data sets: reading files, listing folders; sets, pairs, lists, checks and crops beside."""

from nightseg_train.data.folders import SUFFIXES, Item, list_camvid, list_dark_zurich, list_folder, natural
from nightseg_train.data.pictures import SIZE, Picture, read_ids, read_image, read_label, resize, wrong_ids

__all__ = [
    "SIZE",
    "SUFFIXES",
    "Item",
    "Picture",
    "list_camvid",
    "list_dark_zurich",
    "list_folder",
    "natural",
    "read_ids",
    "read_image",
    "read_label",
    "resize",
    "wrong_ids",
]
