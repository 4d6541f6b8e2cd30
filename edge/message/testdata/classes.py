"""Reads messages with docs/read_mask.py and writes width, height, and classes: for python_test.go."""

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from read_mask import read_mask

for name in sys.argv[2:]:
    header, classes = read_mask(Path(name).read_bytes())
    Path(name + ".classes").write_bytes(classes.tobytes())
    Path(name + ".json").write_text(json.dumps([header, list(classes.shape), str(classes.dtype)]))
