"""Augmentation: repeatable, in range, and darker by night."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import label, picture, soft
from nightseg_train import augment, data, pools
from nightseg_train.classes import IGNORE

NIGHT = augment.Night()


@pytest.mark.parametrize("kind", ["mild", "night", "roughen", "mix"])
def test_same_generator_same_bytes(kind: str) -> None:
    def run(seed: int) -> augment.Floats:
        rng = np.random.default_rng(seed)
        if kind == "mild":
            return augment.mild(rng, picture(1))
        if kind == "roughen":
            return augment.roughen(rng, picture(1), 0.06)
        return (augment.night if kind == "night" else augment.mix)(rng, picture(1), label(1), NIGHT)

    first, again, other = run(5), run(5), run(6)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 1


def test_nights_are_dark() -> None:
    bright = np.full((120, 160, 3), 150, np.uint8)
    means = [augment.night(np.random.default_rng(i), bright, None, NIGHT).mean() for i in range(20)]
    assert np.median(means) < 0.35
    assert min(means) > 0.01


def test_windows_cut_picture_and_label_alike() -> None:
    column = np.tile(np.arange(640) // 64, (480, 1)).astype(np.uint8)
    for seed in range(5):
        win = augment.draw_window(np.random.default_rng(seed), (2 / 3, 0.7), (0.75, 1.6))
        fine = win.cut(column, (320, 448), nearest=True)
        coarse = win.cut(column, (160, 224), nearest=True)
        assert float((fine[::2, ::2] == coarse).mean()) > 0.98
        steps = np.diff(fine[0].astype(int))
        assert (steps <= 0).all() if win.flip else (steps >= 0).all()


def test_windows_can_be_put_around_a_class() -> None:
    sparse = np.zeros((360, 480), np.uint8)
    sparse[40:60, 400:430] = 9
    pool = pools.Pool([picture(1)], [sparse], [])

    def light(_: np.random.Generator, p: data.Picture, __: object) -> augment.Floats:
        return np.asarray(p / 255, np.float32)

    for seed in range(8):
        got = pools.cut(pool, 0, np.random.default_rng(seed), (256, 352), (1.0, 1.6), light, towards=[9, 10])
        assert got.label is not None and (got.label == 9).any()


def test_every_picture_is_seen_once_per_round() -> None:
    rounds = [[pools.nth(7, 7 * r + i, (1, 2)) for i in range(7)] for r in range(3)]
    assert all(sorted(r) == list(range(7)) for r in rounds)
    assert rounds[0] != rounds[1]


def test_paste_teaches_what_it_pastes() -> None:
    def light(_: np.random.Generator, p: data.Picture, __: object) -> augment.Floats:
        return np.asarray(p / 255, np.float32)

    crop, zoom = (320, 448), (1.0, 1.0)
    with_label = pools.Pool([picture(1)], [label(1)], [])
    with_soft = pools.Pool([picture(2)], [], [soft(2)])
    rng = np.random.default_rng(3)
    source, onto = (pools.cut(p, 0, rng, crop, zoom, light) for p in (with_label, with_soft))
    got = pools.paste(np.random.default_rng(0), onto, source, range(11))
    assert got.soft is not None and onto.soft is not None and source.label is not None
    changed = (got.soft != onto.soft).any(2)
    assert 0 < changed.mean() < 1
    assert np.array_equal(got.soft.argmax(2)[changed], source.label[::2, ::2][changed])
    full = np.kron(changed, np.ones((4, 4), bool))
    assert np.allclose(got.x[full], source.x[full]) or float((got.x[full] == source.x[full]).mean()) > 0.9
    with pytest.raises(ValueError, match="paste"):
        pools.paste(rng, source, onto, [1])


def test_what_is_black_teaches_nothing_of_the_classes_that_are_given() -> None:
    x = np.full((64, 64, 3), 0.2, np.float32)
    x[:, :32] = 0.01
    x[4:6, 4:6] = 1.0  # a lamp: what is around it can be seen
    ids = np.full((32, 32), 1, np.uint8)
    ids[16:] = 2
    got = pools.unseen(pools.Cut(x, ids, None), 0.03, [1]).label
    assert got is not None
    assert (got[6:16, :12] == IGNORE).all() and (got[:2, :4] == 1).all()
    assert (got[:, 20:] == ids[:, 20:]).all() and (got[16:] == 2).all()
    soft = np.zeros((16, 16, 3), np.uint8)
    soft[..., 1], soft[..., 2], soft[8:, :, 2] = 150, 105, 160
    taught = pools.unseen(pools.Cut(x, None, soft), 0.03, [1]).soft
    assert taught is not None
    assert (taught[3:8, :6] == 0).all()
    assert (taught[:, 10:] == soft[:, 10:]).all() and (taught[8:] == soft[8:]).all()


def test_pictures_are_normalised_and_channels_last() -> None:
    x = pools.pictures([pools.Cut(np.full((8, 8, 3), 0.485, np.float32), None, None)])
    assert x.shape == (1, 3, 8, 8)
    assert float(x[0, 0].abs().max()) < 1e-5
    assert float(x[0, 1, 0, 0]) == pytest.approx((0.485 - 0.456) / 0.224, abs=1e-5)


def test_fourier_takes_the_means_of_the_other_picture_and_keeps_the_things() -> None:
    rng = np.random.default_rng(0)
    day = (0.4 + 0.2 * rng.random((32, 48, 3))).astype(np.float32)
    night = (0.3 + 0.1 * rng.random((32, 48, 3))).astype(np.float32)
    out = augment.fourier(day, night, 0.0)
    np.testing.assert_allclose(out.mean((0, 1)), night.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(out - out.mean((0, 1)), day - day.mean((0, 1)), atol=1e-6)


def test_fourier_takes_low_amplitudes_alone() -> None:
    rng = np.random.default_rng(1)
    day, night = (0.5 + 0.05 * rng.standard_normal((2, 32, 32, 3))).astype(np.float32)
    got, own, theirs = (np.abs(np.fft.fft2(v, axes=(0, 1))) for v in (augment.fourier(day, night, 0.1), day, night))
    low = np.zeros((32, 32), bool)
    at = np.r_[0:4, 29:32]  # b = floor(0.1 * 32) = 3
    low[np.ix_(at, at)] = True
    np.testing.assert_allclose(got[low], theirs[low], rtol=1e-4)
    np.testing.assert_allclose(got[~low], own[~low], rtol=2e-3, atol=1e-3)
