"""Pictures on disk: reading one, and the data set that all readers build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightning_centernet.data.sample import Record, Sample
from lightning_centernet.errors import UserError
from lightning_centernet.skeleton import Skeleton

_EXIF_ORIENTATION = 0x0112


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture of any common kind, as it is stored (an EXIF orientation is not applied).

    Gray, palette and transparent pictures become RGB, the alpha channel is dropped, 16 bits become 8.

    Returns:
        (height, width, 3) RGB, read-only.

    Raises:
        UserError: the file is missing, broken or truncated.
    """
    with _opened(path) as image:
        return _rgb(image)


def read_size(path: str | Path) -> tuple[int, int]:
    """Read a picture's width and height without decoding it.

    Raises:
        UserError: the file is missing, or no picture.
    """
    with _opened(path) as image:
        return image.size


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: no such picture file") from None
    except Exception as error:  # PIL's decoders raise anything from OSError to struct.error on a broken file
        message = f"{path}: cannot be read as a picture ({error}): replace or remove it"
        raise UserError(message) from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits, in PIL's modes I, I;16, I;16B, ...
        gray = np.clip(np.asarray(image, dtype=np.int64) // 257, 0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if "transparency" in image.info:  # PIL warns where a palette with transparency is converted to RGB directly
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


class ImageDataset:
    """Pictures on disk with their records; readers of all formats build one.

    Args:
        records: one for each picture.
        classes: names by label.
        category_ids: the data set's own ids by label.
        skipped: a line for each object that the reader left out.
        skeleton: what the objects' keypoints are, if they have some.
    """

    def __init__(
        self,
        records: Sequence[Record],
        classes: Sequence[str],
        category_ids: Sequence[int],
        skipped: Sequence[str] = (),
        skeleton: Skeleton | None = None,
    ) -> None:
        self.records = list(records)
        self.classes = tuple(classes)
        self.category_ids = tuple(category_ids)
        self.skipped = tuple(skipped)
        self.skeleton = skeleton

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Read a picture.

        Raises:
            UserError: the file is missing or broken, or its size is not the annotations'.
        """
        record = self.records[index]
        image = read_image(record.file)
        if image.shape[:2] != (record.height, record.width):
            raise UserError(_size_mismatch(record, image.shape[1], image.shape[0]))
        identity = (record.image_id, str(record.file))
        return Sample(image, record.annotations, *identity, self.skeleton, record.calibration)

    def split(self, fraction: float, seed: int) -> tuple[ImageDataset, ImageDataset]:
        """Hold out a random fraction of the pictures, at least one.

        Returns:
            What remains, and what is held out; each in the order of the data set.

        Raises:
            UserError: nothing would remain.
        """
        held = round(fraction * len(self)) or 1
        if not 0 < fraction < 1 or held >= len(self):
            raise UserError(f"val_fraction={fraction} of {len(self)} pictures leaves none to train on: choose another")
        order = np.random.default_rng(seed).permutation(len(self))
        return self._subset(order[held:]), self._subset(order[:held])

    def _subset(self, rows: NDArray[np.int64]) -> ImageDataset:
        records = [self.records[row] for row in np.sort(rows)]
        return ImageDataset(records, self.classes, self.category_ids, self.skipped, self.skeleton)


def _size_mismatch(record: Record, width: int, height: int) -> str:
    message = f"{record.file}: is {width}x{height}, but annotated as {record.width}x{record.height}"
    if (width, height) != (record.height, record.width):
        return f"{message}: correct the annotations' size, or use the pictures that were annotated"
    with Image.open(record.file) as image:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    return (
        f"{message}: it was turned when annotated (its EXIF orientation is {orientation}); rewrite it turned, "
        "e.g. with PIL.ImageOps.exif_transpose, without the EXIF tag"
    )
