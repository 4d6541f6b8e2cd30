"""Networks of bundles that are trained on, and that teach."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from nightseg_train import config, data, fit, scoring, shipped, targets
from nightseg_train.classes import CAMVID
from nightseg_train.nets import registry
from nightseg_train.nets.espnetv2 import ESPNetv2
from nightseg_train.nets.lite import LiteSeg
from nightseg_train.origins import Origin

STREET = config.ROOT / "model/bundles/street-11"
SEEN = fit.Labelled(CAMVID, (1 / 11,) * 11, 0.0)


def picture(seed: int = 1) -> data.Picture:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def net() -> LiteSeg:
    made = registry.segment(registry.LITE, 11).eval()
    assert isinstance(made, LiteSeg)
    shipped.load(made, STREET)
    return made


def test_gives_the_bundle_s_logits(net: LiteSeg) -> None:
    x = scoring.to_tensor(picture())
    want = ort.InferenceSession(STREET / "segment.onnx").run(None, {"x": x.numpy()})[0]
    with torch.inference_mode():
        assert np.abs(net(x).numpy() - want).max() < 1e-4 * np.ptp(want)


def test_settled_norms_change_nothing_until_it_learns(net: LiteSeg) -> None:
    x = torch.cat([scoring.to_tensor(picture(seed)[:256, :352]) for seed in (2, 3)])
    with torch.inference_mode():
        before = net(x)
        shipped.settle(net, [x[:1], x[1:]])
        assert torch.allclose(net(x), before, atol=1e-4)
        net.train()
        with_statistics_of_the_batch = net(x)
        net.eval()
    assert (with_statistics_of_the_batch - before).abs().mean() < 0.01 * before.abs().mean()


def test_folded_networks_give_the_same_logits() -> None:
    torch.manual_seed(3)
    net, other = (registry.segment(registry.LITE, 4).eval() for _ in range(2))
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 2)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    shipped.fill(other, shipped.fold(net))
    x = scoring.to_tensor(picture()[:128, :128])
    with torch.inference_mode():
        assert torch.allclose(net(x), other(x), atol=1e-4 * float(np.ptp(net(x).numpy())))


def test_a_run_begins_with_the_mean_of_networks(tmp_path: Path) -> None:
    net = registry.segment(registry.LITE, 11)
    shipped.load(net, STREET)
    method = fit.METHODS["source"](fit.Fit("x", "source"), SEEN)
    segment = method.modules()["segment"]
    torch.save({"modules": {"segment": segment.state_dict()}}, tmp_path / "a.pt")
    first, second = shipped.fold(segment), shipped.fold(net)
    start = (f"segment={tmp_path / 'a.pt'} + {STREET}",)
    assert fit.begin(method, start, Path("/")) == [segment]
    for name, (weight, bias) in shipped.fold(segment).items():
        assert torch.allclose(weight, (first[name][0] + second[name][0]) / 2, atol=1e-4, rtol=1e-4)
        assert torch.allclose(bias, (first[name][1] + second[name][1]) / 2, atol=1e-4, rtol=1e-4)
    rests_on = fit.origin(fit.Fit("x", "source", start=start), Path("/"))
    assert set(shipped.origin(STREET).labels) <= set(rests_on.labels)


def test_what_has_no_mean_is_refused() -> None:
    ours, other = shipped.fold(registry.segment(registry.LITE, 4)), shipped.fold(registry.segment(registry.LITE, 5))
    with pytest.raises(ValueError, match=r"head\.1 is not in all of them"):
        shipped.mean([ours, other])
    with pytest.raises(ValueError, match="norms of a ESPNetv2 cannot be folded"):
        shipped.fold(ESPNetv2())


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"head\.1 is no part of this network, or of another shape"):
        shipped.load(registry.segment(registry.LITE, 5), STREET)
    with pytest.raises(ValueError, match="has no"):
        shipped.load(registry.segment("ddrnet-slim", 11), STREET)
    shutil.copytree(STREET, tmp_path / "b")
    manifest = json.loads((tmp_path / "b/bundle.json").read_text(encoding="utf-8"))
    del manifest["graphs"]["segment"]["files"]["fp32"]
    (tmp_path / "b/bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no float segmentation network"):
        shipped.load(registry.segment(registry.LITE, 11), tmp_path / "b")


def test_other_classes_begin_with_all_but_the_last_layer(net: LiteSeg) -> None:
    other = registry.segment(registry.LITE, 5)
    assert isinstance(other, LiteSeg)
    last = other.head[1]
    assert isinstance(last, torch.nn.Conv2d)
    before = last.weight.clone()
    shipped.load(other, STREET, other_classes=True)
    assert torch.equal(last.weight, before)
    state, whole = other.state_dict(), net.state_dict()
    assert all(torch.equal(state[k], whole[k]) for k in state if k.endswith("0.weight") and not k.startswith("aux."))


def test_a_run_from_a_bundle_rests_on_what_the_bundle_does() -> None:
    found = fit.origin(fit.Fit("x", "source", start=(f"segment={STREET}",)), Path("/"))
    assert found.labels[0] == "camvid day_train" and "Cityscapes" in found.weights


def test_a_bundle_teaches() -> None:
    member = targets.Member(bundle=str(STREET))
    ensemble = targets.Ensemble([member, targets.Member(bundle=str(STREET), scale=0.5)], Path("/"))
    assert ensemble.names[0] == "sky" and isinstance(ensemble.origins[0], Origin)
    ensemble.adapt([picture()])  # bundles have no norms
    for at in range(2):
        p = ensemble.view(at, picture())
        assert p.shape == (*targets.QUARTER, 11) and np.allclose(p.sum(2), 1, atol=1e-4)
    with pytest.raises(ValueError, match="without night_norms"):
        targets.Ensemble([targets.Member(bundle=str(STREET), night_norms=True)], Path("/"))
    with pytest.raises(ValueError, match="either a run, a bundle"):
        targets.Ensemble([targets.Member(bundle=str(STREET), run="x")], Path("/"))


def test_only_the_segmentation_network_begins_so() -> None:
    class Two:
        def modules(self) -> dict[str, torch.nn.Module]:
            return {"relight": registry.relight("edge")}

    with pytest.raises(ValueError, match="the segmentation network alone"):
        fit.begin(Two(), (f"relight={STREET}",), Path("/"))  # type: ignore[arg-type]
