"""Weights as DANNet's authors release them, to a bundle, to the masks of the program in the vehicle."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import trees
from conftest import PROGRAM, ROOT
from nightseg_train import bundle, config, data, export, losses, scoring
from nightseg_train.classes import CITYSCAPES
from nightseg_train.data.shares import CITYSCAPES_SHARES
from nightseg_train.export import Export, Golden
from nightseg_train.nets import released
from nightseg_train.nets.lightnet import LightNet
from nightseg_train.nets.pspnet import PSPNet

SIZE = (96, 160)  # 12 x 20 steps of 8, and logits of 13 x 21: neither fits the grids of the pyramid pooling


def scene(seed: int) -> data.Picture:
    """Return blotches of colour and some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 10, 3)).astype(np.uint8)
    big = cv2.resize(coarse, (SIZE[1], SIZE[0]), interpolation=cv2.INTER_CUBIC).astype(np.int64)
    return np.asarray(np.clip(big + rng.integers(-20, 21, big.shape), 0, 255), np.uint8)


def settle(net: nn.Module, x: torch.Tensor) -> nn.Module:
    """Give the batch norms the statistics of some pictures, so that random weights tell pixels apart."""
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = 1.0
    with torch.no_grad():
        net.train()(x)
    return net.eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file per network, pictures, and settings."""
    folder = tmp_path_factory.mktemp("released")
    for i in range(3):
        trees.save(folder / f"drive/images/{i}.png", scene(i))
    x = torch.cat([scoring.to_tensor(scene(10 + i)) for i in range(2)])
    torch.manual_seed(5)
    light, segment = settle(LightNet(), x), settle(PSPNet(), x)
    torch.save(light.state_dict(), folder / "dannet_light.pth")
    # As saved from wrapped networks, and without the head that the adaptation does not train.
    state = {f"module.{k}": v for k, v in segment.state_dict().items() if not k.startswith("dsn.")}
    torch.save(state, folder / "dannet_PSPNet.pth")
    (folder / "settings.yaml").write_text(
        "out: bundle\n"
        "about: {name: released, version: 0.1.0, licence: none, card: {intended_use: tests, data: none, limits: all}}\n"
        "golden: {set: camvid, root: drive, part: all}\n"
        "integer: false\nhalf_weights: false\n"
        f"released: {{segment: dannet_PSPNet.pth, relight: dannet_light.pth, size: {list(SIZE)}}}\n",
        encoding="utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def made(base: Path) -> Path:
    """Return the bundle."""
    return export.export(config.read(Export, base / "settings.yaml"), base)


def logits(base: Path, picture: data.Picture) -> torch.Tensor:
    """Return what PyTorch makes of a picture with the released files."""
    light, segment = LightNet().eval(), PSPNet().eval()
    released.load(light, base / "dannet_light.pth")
    released.load(segment, base / "dannet_PSPNet.pth")
    with torch.inference_mode():
        out: torch.Tensor = segment(light(scoring.to_tensor(picture)))
    return out


def program(*args: str) -> str:
    if not PROGRAM.exists():
        pytest.skip("no bin/nightseg: `make build` makes it")
    done = subprocess.run([str(PROGRAM), *args], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_released_files_become_a_bundle(base: Path, made: Path) -> None:
    tree = json.loads((made / "bundle.json").read_text(encoding="utf-8"))
    assert (tree["align_corners"], tree["stride"], tree["logits"]) == (True, 8, [[13, 21]])
    assert tree["reweight"] == {"mode": "logit", "std": 0.16}
    assert [c["name"] for c in tree["classes"]] == [c.name for c in CITYSCAPES]
    assert tree["training"]["released"]["segment"]["file"] == "dannet_PSPNet.pth"
    assert max(tree["training"]["parity_with_pytorch"].values()) < 1e-5
    assert set(tree["graphs"]["relight"]["files"]) == {"fp32"}
    golden = np.fromfile(made / "golden/logits.fp32.bin", "<f4").reshape(1, 19, 13, 21)
    theirs = logits(base, scene(0)).numpy()
    assert np.abs(golden - theirs).max() < 1e-3 * np.ptp(theirs)
    assert len(np.unique(theirs.argmax(1))) > 2, "these weights tell nothing apart"


def test_the_program_holds_the_golden_vectors(made: Path, tmp_path: Path) -> None:
    said = program("bundle", "verify", str(made), "--threads", "1", "--cache-dir", str(tmp_path), "--json")
    checks = json.loads(said)["checks"]
    assert {c["provider"] for c in checks} >= {"cpu"}
    assert max(c["logits_relative"] for c in checks) < 1e-3


def test_the_program_decides_as_the_authors_do(base: Path, made: Path, tmp_path: Path) -> None:
    """Corners aligned, and the logits times the class weights of std 0.16."""
    options = ("--bundle", str(made), "--provider", "cpu", "--gate", "always", "--rate", "max", "--threads", "1")
    program("replay", str(base / "drive/images"), *options, "--out", str(tmp_path), "--cache-dir", str(tmp_path / "c"))
    weights = losses.class_weights(CITYSCAPES_SHARES, 0.16)
    plain_differs = 0
    for i in range(3):
        found = data.read_ids(tmp_path / f"{i:06d}_mask.png")
        theirs = logits(base, scene(i))
        wanted = scoring.decide(scoring.reweighted(theirs, weights, "logit"), SIZE, align_corners=True)
        assert (found == wanted).mean() > 0.999
        plain_differs += int((scoring.decide(theirs, SIZE, align_corners=True) != wanted).sum())
        plain_differs += int((scoring.decide(theirs, SIZE) != wanted).sum())
    assert plain_differs > 100, "weights and corners change nothing here: the test could not fail"


def test_settings_of_released_weights() -> None:
    s = config.read(Export, ROOT / "train/configs/released.yaml")
    assert (s.released.net, s.released.reweight, s.released.std, s.run) == ("pspnet", "logit", 0.16, "")
    assert len(CITYSCAPES_SHARES) == 19 and sum(CITYSCAPES_SHARES) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match=r"released\.net: 'x' is not one of pspnet, deeplab, refinenet"):
        export.Released("a", net="x")
    with pytest.raises(ValueError, match="no multiples of 4"):
        export.Released("a", "b", size=(539, 960))


def test_a_file_of_something_else_is_refused(base: Path) -> None:
    golden = Golden("camvid", "drive", "all")
    about = bundle.About("a", "0.1.0", "none", bundle.Card("a", "b", "c"))
    for name, fault, message in (
        ("dannet_light.pth", ValueError, "is missing"),
        ("none.pth", FileNotFoundError, "none.pth"),
    ):
        s = Export("other", about, golden, released=export.Released(name, size=SIZE), integer=False)
        with pytest.raises(fault, match=message):
            export.export(s, base)
    assert not (base / "other").exists()
