"""Integer networks by several programs, of the same float network and frames, for quantisers.py."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort

import common
import python_loop as plain
from python_loop import Bundle, Floats, Picture

OURS, PEER, NNCF = "nightseg", "onnxruntime.quantization", "NNCF"
PERCENTILE = 99.99  # of both that have it
OTHER_EVERY = 4  # so many frames apart, one is also seen the other way, relit or not, as `calibrate quantize` does
PROVIDERS = ("cpu", "openvino")


@dataclass(frozen=True)
class Way:
    """One way to make the integer segmentation network.

    Attributes:
        program: who makes it.
        method: how ranges are made, as the table names it.
        key: name of its file in the work folder, without ending.
        openvino_only: it is no ONNX file, so that the CPU provider cannot run it.
    """

    program: str
    method: str
    key: str
    openvino_only: bool = False

    @property
    def file(self) -> str:
        """Return the name of its file."""
        return self.key + (".xml" if self.openvino_only else ".onnx")


SHIPPED = Way("as shipped", "", "shipped")
WAYS = (
    SHIPPED,
    *(Way(OURS, m, f"ours-{m}") for m in ("minmax", "percentile", "mse", "entropy")),
    *(Way(PEER, m, f"ort-{m}") for m in ("minmax", "percentile", "entropy")),
    Way(NNCF, "ONNX", "nncf-onnx"),
    Way(NNCF, "OpenVINO IR", "nncf-ir", openvino_only=True),
)


class Session:
    """A network that is open: on ONNX Runtime's CPU provider, or in OpenVINO.

    That is OpenVINO's own library, not the provider of ONNX Runtime, which holds the same release but cannot be in one
    process with it, and does not read OpenVINO's files.
    """

    def __init__(self, path: Path, provider: str, threads: int) -> None:
        """Open a file.

        Raises:
            ValueError: the provider is not in this environment, or cannot run such a file.
        """
        if provider not in available():
            raise ValueError(f"no provider {provider} in this environment")
        if provider == "cpu" and path.suffix == ".xml":
            raise ValueError(f"{path.name}: OpenVINO's own files run in OpenVINO alone")
        self._run = (_in_openvino if provider == "openvino" else _in_onnxruntime)(path, threads)

    def logits(self, x: Floats) -> Floats:
        """Return the logits, classes x h x w, of values 1 x 3 x H x W."""
        return np.asarray(self._run(x)[0], np.float32)


def _in_onnxruntime(path: Path, threads: int) -> Callable[[Floats], Floats]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name

    def run(x: Floats) -> Floats:
        return np.asarray(session.run(None, {source: x})[0], np.float32)

    return run


def _in_openvino(path: Path, threads: int) -> Callable[[Floats], Floats]:
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()

    def run(x: Floats) -> Floats:
        request.infer([x], share_inputs=True)
        return np.array(request.get_output_tensor().data, np.float32)

    return run


class Shown:
    """What the segmentation network is shown of a picture: relit in float where the bundle is best so, or as it is."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Open it."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        path = bundle.folder / bundle.graphs["relight"]["files"]["fp32"]["file"]
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._source = self._session.get_inputs()[0].name
        self._mean, self._std = bundle.mean, bundle.std
        self._best, self._other = (self.relit, self.plain) if bundle.relit else (self.plain, self.relit)

    def __call__(self, rgb: Picture) -> Floats:
        """Return a picture as the bundle is best used, 1 x 3 x H x W in normalised units."""
        return self._best(rgb)

    def relit(self, rgb: Picture) -> Floats:
        """Return the relit picture, 1 x 3 x H x W in normalised units."""
        return np.asarray(self._session.run(None, {self._source: rgb[None]})[0], np.float32)

    def plain(self, rgb: Picture) -> Floats:
        """Return the picture as it is, 1 x 3 x H x W in normalised units."""
        x = (rgb.astype(np.float32) / 255 - self._mean) / self._std
        return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)

    def inputs(self, frames: Sequence[Picture]) -> list[Floats]:
        """Return what the segmentation network sees of calibration frames: each fourth also the other way."""
        found: list[Floats] = []
        for i, rgb in enumerate(frames):
            found.append(self(rgb))
            if i % OTHER_EVERY == 0:
                found.append(self._other(rgb))
        return found


class Reader:
    """Gives calibration inputs as onnxruntime's quantiser asks for them: in strides, so that memory does not fill."""

    def __init__(self, name: str, inputs: Sequence[Floats], tell: Callable[[], None]) -> None:
        """Begin at the first input; tell is called for each."""
        self._name, self._inputs, self._tell = name, inputs, tell
        self._at, self._end = 0, len(inputs)

    def __len__(self) -> int:
        """Return how many inputs there are."""
        return len(self._inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give only these."""
        self._at, self._end = start_index, end_index

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next input, or None after the last."""
        if self._at >= self._end:
            return None
        self._tell()
        self._at += 1
        return {self._name: self._inputs[self._at - 1]}


def available() -> list[str]:
    """Return the providers of this environment."""
    return [name for name in PROVIDERS if name == "cpu" or find_spec("openvino")]


def stride_of(count: int, most: int = 8) -> int:
    """Return the largest stride of at most so many inputs that divides their count."""
    return max(n for n in range(1, most + 1) if count % n == 0)


class Progress:
    """Tells at most once in five seconds how far something is."""

    def __init__(self, what: str, total: int) -> None:
        """Begin at 0 of total."""
        self._what, self._total, self._done, self._told = what, total, 0, time.monotonic()

    def __call__(self) -> None:
        """Count one."""
        self._done += 1
        if time.monotonic() - self._told > 5 or self._done == self._total:
            self._told = time.monotonic()
            common.log.info("%s: %d of %d", self._what, self._done, self._total)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the other programs' notes out of the way: they print as they go."""
    with Path(os.devnull).open("w", encoding="utf-8") as nothing, redirect_stdout(nothing):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def prepared(bundle: Bundle, path: Path) -> Path:
    """Write the float network as the quantiser of onnxruntime wants it: constants folded, shapes inferred."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not path.exists():
        part = path.with_suffix(".part")
        with _quiet():
            quant_pre_process(str(bundle.folder / bundle.graphs["segment"]["files"]["fp32"]["file"]), str(part))
        part.replace(path)
    return path


def by_onnxruntime(way: Way, ready: Path, inputs: Sequence[Floats], target: Path) -> None:
    """Write an integer network by onnxruntime.quantization: QDQ, weights int8 per channel, values uint8."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    how = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}[way.method]
    name = ort.InferenceSession(str(ready), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    progress = Progress(way.key, len(inputs))

    def tell() -> None:
        logging.disable(logging.NOTSET)
        progress()
        logging.disable(logging.WARNING)

    part = target.with_suffix(".part")
    with _quiet():
        quantize_static(
            str(ready), str(part), Reader(name, inputs, tell), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, how),
            extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": stride_of(len(inputs))},
        )  # fmt: skip
    part.replace(target)


def by_nncf(way: Way, ready: Path, inputs: Sequence[Floats], target: Path) -> None:
    """Write an integer network by NNCF's post-training quantisation with its defaults, for a processor."""
    import nncf
    import onnx
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.ERROR)
    name = ort.InferenceSession(str(ready), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    common.log.info("%s: %d inputs", way.key, len(inputs))
    data = nncf.Dataset(inputs, (lambda x: x) if way.openvino_only else (lambda x: {name: x}))
    with _quiet():
        if way.openvino_only:
            made = nncf.quantize(
                ov.Core().read_model(ready), data, target_device=nncf.TargetDevice.CPU, subset_size=len(inputs)
            )
            ov.save_model(made, target, compress_to_fp16=False)
            return
        made = nncf.quantize(onnx.load(ready), data, target_device=nncf.TargetDevice.CPU, subset_size=len(inputs))
        part = target.with_suffix(".part")
        onnx.save(made, part)
    part.replace(target)


def by_nightseg(method: str, bundle: Bundle, drive: Path, frames: int, threads: int, out: Path) -> str:
    """Make a bundle by `nightseg calibrate quantize`, which goes on where it stopped.

    Returns:
        Why the program refused it ("" where it did not): its golden vectors did not hold on all providers. It is then
        made where there is no provider but the processor's, so that the network can be looked at all the same.
    """
    common.log.info("nightseg calibrate quantize --observer %s", method)
    command = [
        common.program(), "calibrate", "quantize", "--bundle", str(bundle.folder), "--source", str(drive),
        "--out", str(out), "--observer", method, "--percentile", str(PERCENTILE), "--frames", str(frames),
        "--threads", str(threads), "--json",
    ]  # fmt: skip
    try:
        common.call(command)
    except RuntimeError as fault:
        if f"exit code {common.REFUSED}" not in str(fault):
            raise
        refusal = str(fault).strip().splitlines()[-1]
        common.log.warning("refused: %s", refusal)
        common.call([*command, "--lib-dir", str(processor_alone(out.parent / "lib"))])
        return refusal
    return ""


def processor_alone(folder: Path) -> Path:
    """Return a folder with the library of ONNX Runtime and without its other providers."""
    folder.mkdir(exist_ok=True)
    for library in (common.ROOT / ".cache/ort").glob("libonnxruntime.so.*"):
        link = folder / library.name
        if not link.exists():
            link.symlink_to(library)
    return folder


def integer_file(bundle: Bundle) -> Path:
    """Return the integer segmentation network of a bundle."""
    return bundle.folder / str(bundle.graphs["segment"]["files"]["int8"]["file"])


def load(folder: Path) -> Bundle:
    """Read a bundle that has a relight network and integer networks.

    Raises:
        ValueError: it lacks one of them.
    """
    bundle = plain.load_bundle(folder)
    if "relight" not in bundle.graphs or "int8" not in bundle.graphs["segment"]["files"]:
        raise ValueError(f"{folder}: a bundle with a relight network and integer networks is needed")
    return bundle
