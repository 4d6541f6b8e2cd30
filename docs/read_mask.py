"""Reads a mask message of nightseg: python read_mask.py FILE, or mqtt://HOST with paho-mqtt."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def read_mask(message: bytes) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Return the header, and the class of each pixel, 255 where it is unknown."""
    if message[:4] == b"NSRZ":  # codec rle-zstd
        from read_runs import read_runs

        return read_runs(message)
    picture = Image.open(io.BytesIO(message))
    return json.loads(picture.info["nightseg"]), np.array(picture)  # the palette's indices, not its colours


def show(message: bytes) -> None:
    """Print the header and how many pixels each class has."""
    header, classes = read_mask(message)
    print(header, dict(enumerate(np.bincount(classes.flat).tolist())))  # noqa: T201


if __name__ == "__main__":
    if not sys.argv[1].startswith("mqtt://"):
        show(Path(sys.argv[1]).read_bytes())
    else:
        from paho.mqtt.subscribe import callback

        topic, host = "nightseg/v1/+/+/cam/+/mask", sys.argv[1].removeprefix("mqtt://")
        callback(lambda _client, _data, m: show(m.payload), topic, hostname=host)  # type: ignore[no-untyped-call]
