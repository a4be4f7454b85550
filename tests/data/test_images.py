from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_centernet.data import ImageDataset, Record, read_image
from lightning_centernet.errors import UserError

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def save(folder: Path, pixels: np.ndarray, mode: str | None = None, name: str = "picture.png") -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def test_color_is_read_as_it_is(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path, COLOR)), COLOR)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_gray_in_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = read_image(save(tmp_path, GRAY, mode))
    np.testing.assert_array_equal(image, np.repeat(GRAY[..., None], 3, axis=2))
    assert image.dtype == np.uint8


def test_one_bit(tmp_path: Path) -> None:
    bits = Image.fromarray(GRAY).point(lambda value: 255 * (value > 99)).convert("1")
    bits.save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[..., 1], np.where(GRAY > 99, 255, 0))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, GRAY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(image, np.repeat(GRAY[..., None], 3, axis=2))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    transparent = np.concatenate([COLOR, np.zeros((6, 8, 1), np.uint8)], axis=2)
    np.testing.assert_array_equal(read_image(save(tmp_path, transparent)), COLOR)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_truncated_file_names_itself(tmp_path: Path, suffix: str) -> None:
    file = save(tmp_path, np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8), name=f"cut.{suffix}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=f"cut.{suffix}: cannot be read as a picture"):
        read_image(file)


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"text\.jpg: cannot be read"):
        read_image(tmp_path / "text.jpg")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: no such picture file"):
        read_image(tmp_path / "gone.png")


def record(file: Path, width: int, height: int) -> Record:
    return Record(file, 7, width, height, {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)})


def test_sample_of_a_record(tmp_path: Path) -> None:
    dataset = ImageDataset([record(save(tmp_path, COLOR), 8, 6)], ["cat"], [1])
    assert len(dataset) == 1
    np.testing.assert_array_equal(dataset[0].image, COLOR)
    assert (dataset[0].image_id, dataset[0].file) == (7, str(tmp_path / "picture.png"))


def test_size_that_is_not_the_annotations(tmp_path: Path) -> None:
    dataset = ImageDataset([record(save(tmp_path, COLOR), 80, 60)], ["cat"], [1])
    with pytest.raises(UserError, match=r"picture\.png: is 8x6, but annotated as 80x60"):
        dataset[0]


def test_turned_picture_says_so(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOR).save(tmp_path / "turned.jpg", exif=exif)
    dataset = ImageDataset([record(tmp_path / "turned.jpg", 6, 8)], ["cat"], [1])
    with pytest.raises(UserError, match=r"is 8x6, but annotated as 6x8.*EXIF orientation is 6.*exif_transpose"):
        dataset[0]


def test_split_is_seeded_and_complete(tmp_path: Path) -> None:
    dataset = ImageDataset([record(tmp_path / str(number), 8, 6) for number in range(20)], ["cat"], [1])
    train, held = dataset.split(0.25, seed=3)
    assert len(held) == 5
    assert sorted(train.records + held.records, key=lambda one: int(one.file.name)) == dataset.records
    again = dataset.split(0.25, seed=3)[1]
    assert [one.file for one in held.records] == [one.file for one in again.records]
    assert [one.file for one in held.records] != [one.file for one in dataset.split(0.25, seed=4)[1].records]


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.99])
def test_split_that_leaves_nothing(tmp_path: Path, fraction: float) -> None:
    dataset = ImageDataset([record(tmp_path / str(number), 8, 6) for number in range(5)], ["cat"], [1])
    with pytest.raises(UserError, match="val_fraction"):
        dataset.split(fraction, seed=0)
