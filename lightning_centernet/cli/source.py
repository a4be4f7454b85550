"""The pictures that `predict` is given: an image, a folder or a glob."""

from __future__ import annotations

from functools import partial
from glob import glob
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader

from lightning_centernet.cli.cameras import Camera
from lightning_centernet.data.collate import collate
from lightning_centernet.data.images import read_image
from lightning_centernet.data.loading import Examples, initialize_worker
from lightning_centernet.data.sample import Objects, Sample
from lightning_centernet.data.transforms import Transform
from lightning_centernet.errors import UserError

UNREADABLE = -1  # in place of the index of a file


def find_images(source: str | None) -> list[Path]:
    """List the image files of a source, in the order of their names.

    Raises:
        UserError: there are none.
    """
    if source is None:
        raise UserError("predict needs pictures: source=<image, folder or glob>")
    path = Path(source)
    if path.is_file():
        return [path]
    found = sorted(path.rglob("*") if path.is_dir() else _matching(source))
    images = [file for file in found if file.suffix.lower() in Image.registered_extensions() and file.is_file()]
    if not images:
        what = f"{len(found)} files, no image among them" if found else "nothing there"
        raise UserError(f"source={source}: {what}; name an image, a folder, or a quoted glob such as 'a/*.jpg'")
    return images


def _matching(pattern: str) -> list[Path]:
    return [Path(name) for name in glob(pattern, recursive=True)]  # noqa: PTH207 - a Path globs no absolute pattern


class Pictures:
    """Image files as a data set without annotations; the index of a file is its image id.

    One that cannot be read becomes a black pixel with the id `UNREADABLE`, for one bad file must not end a long run.
    """

    classes: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()

    def __init__(self, files: list[Path], camera: Camera | None = None) -> None:
        self.files = files
        self.camera = camera

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """Read a file."""
        try:
            image, image_id = read_image(self.files[index]), index
        except UserError:
            image, image_id = np.zeros((1, 1, 3), np.uint8), UNREADABLE
        nothing: Objects = {
            "boxes": np.zeros((0, 4), np.float32),
            "labels": np.zeros(0, np.int64),
            "ignore": np.zeros(0, bool),
        }
        calibration = self.camera and self.camera(index, image.shape[:2])
        return Sample(image, nothing, image_id, str(self.files[index]), calibration=calibration)


def picture_loader(
    files: list[Path], transform: Transform, batch_size: int, num_workers: int, camera: Camera | None = None
) -> DataLoader[dict[str, object]]:
    """Load pictures in batches; with their calibration if `camera` gives it."""
    return DataLoader(
        Examples(Pictures(files, camera), transform),
        batch_size=batch_size,
        num_workers=min(num_workers, len(files) - 1),
        collate_fn=partial(collate, max_objects=0),
        worker_init_fn=initialize_worker,
    )
