"""Networks: the ESPNetv2 teacher, the edge segmentation net and the edge relight net."""
