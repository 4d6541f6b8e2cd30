"""DANNet's networks: sizes and keys of the released files, grids, frozen parts, the loader, and their ONNX export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train import graphs
from nightseg_train.nets import deeplab, pspnet, refinenet, released, resize, trunk
from nightseg_train.nets.deeplab import DeepLab
from nightseg_train.nets.discriminator import Discriminator
from nightseg_train.nets.lightnet import LightNet
from nightseg_train.nets.pspnet import PSPNet
from nightseg_train.nets.refinenet import RefineNet

PORT = graphs.Port("x", "y")
Make = Callable[[], nn.Module]


def meta(make: Make) -> nn.Module:
    """Return a net without memory, in eval mode."""
    with torch.device("meta"):
        return make().eval()


def grid(net: nn.Module, channels: int, height: int, width: int) -> tuple[int, ...]:
    y = net(torch.empty(1, channels, height, width, device="meta"))
    return tuple(y.shape)


@pytest.mark.parametrize(
    ("make", "parameters", "entries"),
    [
        (LightNet, 4_299_395, 68),
        (PSPNet, 70_433_254, 657),
        (DeepLab, 44_601_560, 640),
        (RefineNet, 118_047_827, 712),
        (Discriminator, 1_728_193, 10),
    ],
)
def test_nets_have_the_released_size(make: Make, parameters: int, entries: int) -> None:
    net = meta(make)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert len(net.state_dict()) == entries


@pytest.mark.parametrize(
    ("make", "prefix", "parameters"), [(PSPNet, "dsn.", 65_703_379), (DeepLab, "layer5.", 43_901_068)]
)
def test_the_rest_without_the_auxiliary_head_has_the_known_size(make: Make, prefix: str, parameters: int) -> None:
    assert sum(p.numel() for n, p in meta(make).named_parameters() if not n.startswith(prefix)) == parameters


SHAPES: list[tuple[Make, dict[str, tuple[int, ...]]]] = [
    (
        LightNet,
        {
            "model.1.weight": (64, 3, 7, 7),
            "model.5.running_var": (128,),
            "model.10.conv_block.1.weight": (256, 256, 3, 3),
            "model.12.conv_block.6.bias": (256,),
            "model.13.weight": (256, 128, 3, 3),
            "model.20.bias": (3,),
        },
    ),
    (
        PSPNet,
        {
            "conv3.weight": (128, 64, 3, 3),
            "layer1.0.downsample.0.weight": (256, 128, 1, 1),
            "layer3.22.bn3.running_mean": (1024,),
            "head.0.stages.3.1.weight": (512, 2048, 1, 1),
            "head.0.bottleneck.0.weight": (512, 4096, 3, 3),
            "head.0.bottleneck.1.bias": (512,),
            "head.1.bias": (19,),
            "dsn.0.bias": (512,),
            "dsn.3.weight": (19, 512, 1, 1),
        },
    ),
    (
        DeepLab,
        {
            "conv1.weight": (64, 3, 7, 7),
            "layer4.0.downsample.1.num_batches_tracked": (),
            "layer5.conv2d_list.0.bias": (19,),
            "layer6.conv2d_list.3.weight": (19, 2048, 3, 3),
        },
    ),
    (
        RefineNet,
        {
            "p_ims1d2_outl1_dimred.weight": (512, 2048, 3, 3),
            "adapt_stage1_b.0.2_conv.bias": (512,),
            "adapt_stage4_b2_joint_varout_dimred.weight": (256, 256, 3, 3),
            "mflow_conv_g1_pool.0.4_outvar_dimred.weight": (512, 512, 3, 3),
            "mflow_conv_g1_b3_joint_varout_dimred.weight": (256, 512, 3, 3),
            "mflow_conv_g4_b.0.3_conv_relu_varout_dimred.weight": (256, 256, 3, 3),
            "clf_conv.bias": (19,),
        },
    ),
    (Discriminator, {"conv1.weight": (64, 19, 4, 4), "conv4.bias": (256,), "classifier.weight": (1, 256, 4, 4)}),
]


@pytest.mark.parametrize(("make", "shapes"), SHAPES)
def test_nets_have_the_released_keys(make: Make, shapes: dict[str, tuple[int, ...]]) -> None:
    state = meta(make).state_dict()
    assert {key: tuple(state[key].shape) for key in shapes if key in state} == shapes


@pytest.mark.parametrize(
    ("make", "small", "large"),
    [(PSPNet, (65, 65), (68, 121)), (DeepLab, (65, 65), (68, 121)), (RefineNet, (128, 128), (135, 240))],
)
def test_logits_come_on_the_known_grids(make: Make, small: tuple[int, int], large: tuple[int, int]) -> None:
    net = meta(make)
    assert grid(net, 3, 512, 512) == (1, 19, *small)
    assert grid(net, 3, 540, 960) == (1, 19, *large)


def test_lightnet_and_discriminator_give_the_known_sizes() -> None:
    assert grid(meta(LightNet), 3, 540, 960) == (1, 3, 540, 960)
    assert grid(meta(Discriminator), 19, 512, 512) == (1, 1, 125, 125)
    assert grid(meta(Discriminator), 19, 960, 960) == (1, 1, 237, 237)


def test_both_gives_the_auxiliary_logits_where_there_are_any() -> None:
    x = torch.empty(1, 3, 64, 96, device="meta")
    for make in (PSPNet, DeepLab):
        net = meta(make)
        assert isinstance(net, PSPNet | DeepLab)
        logits, aux = net.both(x)
        assert aux is not None and aux.shape == logits.shape == (1, 19, 9, 13)
    net = meta(RefineNet)
    assert isinstance(net, RefineNet)
    logits, aux = net.both(x)
    assert aux is None and logits.shape == (1, 19, 16, 24)


def test_deeplab_freezes_the_affine_part_of_every_norm_but_the_stems() -> None:
    frozen = {n for n, p in meta(DeepLab).named_parameters() if not p.requires_grad}
    norms = {
        f"{n}.{part}" for n, m in meta(DeepLab).named_modules()
        if isinstance(m, nn.BatchNorm2d) and n != "bn1" for part in ("weight", "bias")
    }  # fmt: skip
    assert frozen == norms and len(frozen) == 2 * (3 * sum(trunk.BLOCKS) + 4)
    for make in (PSPNet, RefineNet, LightNet, Discriminator):
        assert all(p.requires_grad for p in meta(make).parameters())


def test_frozen_norms_still_follow_the_statistics() -> None:
    block = trunk.Bottleneck(4, 2, frozen_affine=True).train()
    block(torch.randn(2, 4, 6, 6) + 3)
    assert not torch.equal(block.bn1.running_mean, torch.zeros(2))  # type: ignore[arg-type]


def test_a_block_strides_where_it_is_told() -> None:
    first, middle = trunk.Bottleneck(8, 4, 2, stride_first=True), trunk.Bottleneck(8, 4, 2)
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    assert (middle.conv1.stride, middle.conv2.stride) == ((1, 1), (2, 2))
    assert first(torch.zeros(1, 8, 7, 10)).shape == middle(torch.zeros(1, 8, 7, 10)).shape == (1, 16, 4, 5)


@pytest.mark.parametrize(("all_branches", "live"), [(False, 2), (True, 4)])
def test_deeplab_sums_the_live_branches(all_branches: bool, live: int) -> None:
    head = deeplab.Atrous(3, 2, all_branches)
    x = torch.randn(1, 3, 30, 31)
    out = head(x)
    torch.testing.assert_close(out, torch.stack([c(x) for c in head.conv2d_list][:live]).sum(0))
    assert [c.dilation for c in head.conv2d_list] == [(d, d) for d in (6, 12, 18, 24)]
    out.sum().backward()
    assert [c.weight.grad is not None for c in head.conv2d_list] == [i < live for i in range(4)]


def test_pyramid_head_neither_activates_nor_reorders() -> None:
    head = pspnet.PyramidPooling(6, 4).eval()
    x = torch.randn(1, 6, 9, 11)
    parts = []
    for size, branch in zip((1, 2, 3, 6), head.stages, strict=True):
        assert isinstance(branch, nn.Sequential)
        parts.append(F.interpolate(branch[1](F.adaptive_avg_pool2d(x, size)), (9, 11), mode="bilinear",
                                   align_corners=True))  # fmt: skip
    with torch.no_grad():
        merge, norm = head.bottleneck[0], head.bottleneck[1]
        expected = norm(merge(torch.cat([*parts, x], 1)))
        torch.testing.assert_close(head(x), expected)
    assert float(expected.min()) < 0


def test_pyramid_head_in_bf16_is_that_in_float() -> None:
    torch.manual_seed(0)
    head = random_norms(pspnet.PyramidPooling(24, 16)).eval()
    x, weights = torch.randn(2, 24, 9, 11).relu(), list(head.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        y = head(x)
    pull = torch.randn(y.shape)
    wanted = (head(x).detach(), *torch.autograd.grad(head(x), weights, pull))
    found = (y.detach(), *torch.autograd.grad(y.float(), weights, pull))
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and float((a - b).norm() / b.norm()) < 2e-2


def test_pools_and_units_of_refinenet_follow_their_formula() -> None:
    pool, units = refinenet.ChainedPooling(3), refinenet.ResidualUnits(3, 1)
    x = torch.randn(1, 3, 8, 9)
    top, expected = x, x
    for i in range(1, 5):
        top = pool[f"{i}_outvar_dimred"](F.max_pool2d(top, 5, 1, 2))
        expected = expected + top
    torch.testing.assert_close(pool(x), expected)
    inner = F.relu(units["1_conv"](F.relu(x)))
    torch.testing.assert_close(units(x), x + units["1_conv_relu_varout_dimred"](inner))


def test_dropout_lies_where_the_authors_have_it() -> None:
    net = meta(PSPNet)
    drops = {n: m.p for n, m in net.named_modules() if isinstance(m, nn.Dropout2d)}
    assert drops == {"head.0.bottleneck.2": 0.1, "dsn.2": 0.1}
    refine = meta(RefineNet)
    assert isinstance(refine, RefineNet)
    calls: list[int] = []
    refine.drop.register_forward_hook(lambda _m, _x, y: calls.append(y.shape[1]))
    grid(refine, 3, 64, 64)
    assert refine.drop.p == 0.5 and calls == [2048, 1024, 256]


def test_lightnet_adds_a_residual_within_one() -> None:
    torch.manual_seed(0)
    net = LightNet().eval()
    x = 3 * torch.randn(1, 3, 8, 12)
    with torch.inference_mode():
        r = net.residual(x)
        assert 0 < float(r.abs().max()) < 1
        assert torch.equal(net(x), x + r)


@pytest.mark.parametrize(("height", "width"), [(10, 16), (16, 18), (4, 16)])
def test_lightnet_names_the_size_that_does_not_fit(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"H {height} and W {width} "):
        meta(LightNet)(torch.empty(1, 3, height, width, device="meta"))


# --- loader ---


class Small(nn.Module):
    """A net with the kinds of keys that the loader knows."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.dsn = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
        self.layer5 = nn.Conv2d(4, 2, 1)


@pytest.fixture
def theirs() -> dict[str, Tensor]:
    """Return a state dict with other values than a fresh net's."""
    return {key: torch.full_like(value, 7) for key, value in Small().state_dict().items()}


def test_loader_copies_every_key_from_a_file(theirs: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(theirs, tmp_path / "a.pth")
    net = Small()
    assert released.load(net, tmp_path / "a.pth") == ()
    assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items())


def test_loader_strips_the_wrapper_and_ignores_a_classifier(theirs: dict[str, Tensor]) -> None:
    net = Small()
    wrapped = {f"module.{key}": value for key, value in theirs.items()}
    released.load(net, wrapped | {"fc.weight": torch.zeros(1), "module.fc.bias": torch.zeros(1)})
    assert all(bool((value == 7).all()) for value in net.state_dict().values())


def test_loader_tolerates_missing_counters(theirs: dict[str, Tensor]) -> None:
    net = Small()
    old = {key: value for key, value in theirs.items() if not key.endswith("num_batches_tracked")}
    assert released.load(net, old) == ("bn1.num_batches_tracked", "dsn.1.num_batches_tracked")
    assert bool((net.bn1.weight == 7).all())


@pytest.mark.parametrize("head", ["dsn.", "layer5."])
def test_loader_keeps_an_auxiliary_head_that_is_absent(theirs: dict[str, Tensor], head: str) -> None:
    net = Small()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    kept = released.load(net, {key: value for key, value in theirs.items() if not key.startswith(head)})
    assert set(kept) == {key for key in before if key.startswith(head)}
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key] if key in kept else theirs[key])


@pytest.mark.parametrize("key", ["conv1.weight", "bn1.running_var", "dsn.0.bias"])
def test_loader_names_a_missing_key_and_copies_nothing(theirs: dict[str, Tensor], key: str) -> None:
    net = Small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    del theirs[key]
    with pytest.raises(ValueError, match=rf"Small: {key} is missing"):
        released.load(net, theirs)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_loader_names_an_unknown_key_and_a_wrong_shape(theirs: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"layer9\.weight is no key of Small"):
        released.load(Small(), theirs | {"module.layer9.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"conv1\.weight is 5x3x3x3, the net wants 4x3x3x3"):
        released.load(Small(), theirs | {"conv1.weight": torch.zeros(5, 3, 3, 3)})


def test_loader_names_the_file_that_is_no_state_dict(theirs: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(theirs, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    torch.save(theirs, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pth").read_bytes()
    (tmp_path / "old_cut.pth").write_bytes(old[: len(old) - 40])
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    torch.save({"epoch": 3, "state": theirs}, tmp_path / "nested.pth")
    for name in ("cut", "empty", "text", "old_cut", "list", "nested"):
        with pytest.raises(ValueError, match=rf"{name}\.pth"):
            released.load(Small(), tmp_path / f"{name}.pth")
    released.load(Small(), tmp_path / "old.pth")
    with pytest.raises(FileNotFoundError):
        released.load(Small(), tmp_path / "none.pth")


# --- export ---


def random_norms(net: nn.Module) -> nn.Module:
    """Give batch norms statistics that are not neutral."""
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            for value, low in ((m.running_mean, -1.0), (m.running_var, 0.5), (m.weight, 0.5), (m.bias, -1.0)):
                assert value is not None
                nn.init.uniform_(value, low, 1.5)
    return net


@pytest.mark.parametrize(("n", "m"), [(1, 68), (2, 121), (6, 65), (17, 34), (9, 9), (7, 3), (5, 1)])
def test_resize_matrix_is_the_aligned_resize(n: int, m: int) -> None:
    x = torch.randn(1, 2, n)
    expected = F.interpolate(x, m, mode="linear", align_corners=True)
    torch.testing.assert_close(x @ resize.resize_matrix(n, m).T, expected, atol=1e-5, rtol=1e-5)


def test_tap_matrix_is_a_filter_of_the_aligned_resize() -> None:
    x, taps = torch.randn(1, 1, 6), torch.tensor([0.5, -2.0, 3.0])
    wide = F.interpolate(x, 17, mode="linear", align_corners=True)
    products = (taps[:, None] * x[0, 0]).flatten()
    expected = F.conv1d(wide, taps.view(1, 1, 3), padding=1)[0, 0]
    torch.testing.assert_close(resize.tap_matrix(6, 17) @ products, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_lightnet_exports(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = random_norms(LightNet())
    assert graphs.write(net, torch.randn(1, 3, 20, 28), PORT, tmp_path / "light.onnx") <= 1e-3


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("size", [(17, 31), (13, 13)])
def test_pyramid_head_exports_where_pools_do_not_divide(size: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = random_norms(nn.Sequential(pspnet.PyramidPooling(24, 8), nn.Conv2d(8, 19, 1)))
    assert graphs.write(head, torch.randn(1, 24, *size), PORT, tmp_path / "head.onnx") <= 1e-3


@pytest.mark.parametrize("size", [(18, 32), (17, 31)])
def test_pool_that_rounds_up_exports(size: tuple[int, int], tmp_path: Path) -> None:
    net = meta(PSPNet)
    assert isinstance(net, PSPNet)
    assert graphs.write(net.maxpool, torch.randn(1, 4, *size), PORT, tmp_path / "pool.onnx") <= 1e-3


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_stage_of_refinenet_exports(tmp_path: Path) -> None:
    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.units = refinenet.ChainedPooling(8), refinenet.ResidualUnits(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.units(self.pool(F.relu(x)))
            return resize.resize(y, (2 * x.shape[2] - 1, 2 * x.shape[3]))

    torch.manual_seed(0)
    assert graphs.write(Stage(), torch.randn(1, 8, 9, 15), PORT, tmp_path / "stage.onnx") <= 1e-3
