"""DANNet's crops: night and day, picture and label, stay together to the pixel; same state, same crop."""

from __future__ import annotations

import numpy as np
import pytest

from nightseg_train.data import Picture, paired_crops


def marked(h: int, w: int, seed: int = 0) -> Picture:
    """Return noise with a bright cross, so that no other place looks alike."""
    picture = np.random.default_rng(seed).integers(0, 200, (h, w, 3)).astype(np.uint8)
    picture[h // 3], picture[:, w // 4] = 255, 255
    return picture


def test_equal_pictures_stay_equal_to_the_byte() -> None:
    day = marked(54, 96)
    for seed in range(20):
        a, b = paired_crops.pair(day, day.copy(), np.random.default_rng(seed), edge=48, out=32)
        assert a.shape == (32, 32, 3)
        assert np.array_equal(a, b)


def test_a_mark_lands_on_the_same_pixel_of_night_and_day() -> None:
    rng = np.random.default_rng(3)
    for seed in range(20):
        night, day = np.zeros((54, 96, 3), np.uint8), np.zeros((54, 96, 3), np.uint8)
        y, x = int(rng.integers(5, 49)), int(rng.integers(5, 91))
        night[y - 2 : y + 3, x - 2 : x + 3] = 80
        day[y - 2 : y + 3, x - 2 : x + 3] = 250
        a, b = paired_crops.pair(night, day, np.random.default_rng(seed), edge=48, out=48)
        assert np.array_equal(a.max(2) > 40, b.max(2) > 125)


def test_picture_and_label_stay_together() -> None:
    blocks = np.kron(np.random.default_rng(5).integers(0, 11, (8, 16)), np.ones((16, 16), np.int64)).astype(np.uint8)
    image = np.repeat(blocks[:, :, None] * 20, 3, 2)
    for seed in range(20):
        x, y = paired_crops.source(image, blocks, np.random.default_rng(seed), edge=64)
        assert x.shape == (64, 64, 3)
        assert set(np.unique(y)) <= set(np.unique(blocks))
        near = np.abs(x[:, :, 0].astype(int) - y.astype(int) * 20) < 10  # but for the borders, which bicubic smooths
        assert near.mean() > 0.7
        inner = (y[1:-1, 1:-1] == y[:-2, 1:-1]) & (y[1:-1, 1:-1] == y[2:, 1:-1])
        inner &= (y[1:-1, 1:-1] == y[1:-1, :-2]) & (y[1:-1, 1:-1] == y[1:-1, 2:])
        assert near[1:-1, 1:-1][inner].mean() > 0.97


def test_same_state_same_crop_and_the_sizes_of_the_paper() -> None:
    assert paired_crops.draw(np.random.default_rng(7), (1024, 2048), 512, (0.5, 1.0)) == paired_crops.draw(
        np.random.default_rng(7), (1024, 2048), 512, (0.5, 1.0)
    )
    rng = np.random.default_rng(0)
    source = [paired_crops.draw(rng, (1024, 2048), 512, (0.5, 1.0)) for _ in range(300)]
    target = [paired_crops.draw(rng, (1080, 1920), 960, (0.9, 1.1)) for _ in range(300)]
    assert min(c.size[0] for c in source) >= 512
    assert max(c.size[0] for c in source) <= 1024
    assert min(c.size[0] for c in target) >= 972
    assert max(c.size[1] for c in target) <= 2112
    for c in source + target:
        assert c.top + c.edge <= c.size[0]
        assert c.left + c.edge <= c.size[1]
    assert 100 < sum(c.flip for c in source) < 200
    assert len({c.top for c in target}) > 50


def test_flip_is_a_mirror() -> None:
    picture = marked(20, 20)
    plain = paired_crops.pair(picture, picture, np.random.default_rng(1), 20, 20, (1, 1), flip=0)[0]
    assert np.array_equal(plain, picture)
    turned = paired_crops.pair(picture, picture, np.random.default_rng(1), 20, 20, (1, 1), flip=1)[0]
    assert np.array_equal(turned, picture[:, ::-1])


def test_small_pictures_are_framed() -> None:
    x, y = paired_crops.source(marked(6, 20), np.ones((6, 20), np.uint8), np.random.default_rng(1), 10, (1, 1))
    assert (y[:2] == 255).all()
    assert (y[8:] == 255).all()
    assert (y[2:8] == 1).all()
    assert not x[:2].any()


def test_wrong_sizes_and_scales() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="a day picture of"):
        paired_crops.pair(marked(8, 8), marked(8, 9), rng)
    with pytest.raises(ValueError, match="with a label of"):
        paired_crops.source(marked(8, 8), np.zeros((8, 9), np.uint8), rng)
    for scale in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="scale"):
            paired_crops.draw(rng, (8, 8), 4, scale)
