"""The exported networks under ONNX Runtime, as the program in the vehicle runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from nightseg_train import data, scoring

Floats = NDArray[np.float32]
PROVIDERS = {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider"}


def session(path: Path, provider: str = "cpu", threads: int = 2) -> ort.InferenceSession:
    """Open an ONNX file on a provider ("cpu" or "openvino").

    Raises:
        ValueError: the provider is not known or not part of the installed onnxruntime.
    """
    name = PROVIDERS.get(provider)
    if name is None or name not in ort.get_available_providers():
        raise ValueError(f"runtime: no provider {provider!r}; there are {ort.get_available_providers()}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if provider == "openvino":
        chosen = [(name, {"device_type": "CPU", "num_of_threads": str(threads)})]
        return ort.InferenceSession(str(path), options, providers=chosen)
    return ort.InferenceSession(str(path), options, providers=[name])


class Networks:
    """The networks of one precision ("fp32" or "int8") in a bundle's folder; the relight network may be missing.

    As in the vehicle a network that lacks the precision runs in float.
    """

    def __init__(self, folder: Path, precision: str, provider: str = "cpu", threads: int = 2) -> None:
        """Open the files.

        Raises:
            ValueError: see session.
        """
        suffix = "" if precision == "fp32" else f".{precision}"

        def opened(name: str) -> ort.InferenceSession:
            file = folder / f"{name}{suffix}.onnx"
            return session(file if file.exists() else folder / f"{name}.onnx", provider, threads)

        self.relight_session = opened("relight") if (folder / "relight.onnx").exists() else None
        self.segment_session = opened("segment")

    def relit(self, picture: data.Picture) -> Floats:
        """Return the relit picture, or the plain one where there is no relight network: 1 x 3 x H x W, normalised."""
        if self.relight_session is None:
            return scoring.to_tensor(picture).numpy()
        out: Floats = self.relight_session.run(None, {"image": picture[None]})[0]
        return out

    def segment(self, x: Floats) -> Floats:
        """Return the logits, 1 x classes x h x w, of normalised or relit values 1 x 3 x H x W."""
        out: Floats = self.segment_session.run(None, {"x": x})[0]
        return out

    def logits(self, picture: data.Picture, relight: bool = True) -> Floats:
        """Return the logits of a picture of RGB bytes, relit or as it is."""
        return self.segment(self.relit(picture) if relight else scoring.to_tensor(picture).numpy())

    def predictor(self, relight: bool = True) -> scoring.Predict:
        """Return the function that scoring asks for."""

        def predict(picture: data.Picture) -> Tensor:
            return torch.from_numpy(self.logits(picture, relight))

        return predict
