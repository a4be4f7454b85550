"""Several data sets trained on at once, each with the objects, and for the heads, that it is labelled for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from lightning.pytorch.utilities import CombinedLoader

from lightning_centernet.data.module import DetectionData
from lightning_centernet.errors import UserError


class SeveralData(DetectionData):
    """Give every training step one batch of each data set; `CenterNet` adds their losses.

    Validation and test are those of the first one. All must have its classes, with its ids.

    Args:
        sets: the data sets by name.
        mode: when an epoch ends: with the longest data set, while the others begin again (`max_size_cycle`) or are
            missing (`max_size`); or with the shortest (`min_size`).

    Raises:
        UserError: there are none.
    """

    def __init__(
        self,
        sets: Mapping[str, DetectionData],
        mode: Literal["max_size_cycle", "max_size", "min_size"] = "max_size_cycle",
    ) -> None:
        if not sets:
            raise UserError("data.sets: names no data set, such as data.sets.mine._target_=...")
        first = next(iter(sets.values()))
        super().__init__(
            *(first.sources.get(split) for split in ("train", "val", "test")),
            batch_size=first.batch_size,
            num_workers=first.num_workers,
            max_objects=first.max_objects,
            seed=first.seed,
            on_error=first.on_error,
        )
        self._transforms, self._examples = first._transforms, first._examples
        self.sets, self.mode = dict(sets), mode

    def setup(self, stage: str) -> None:
        """Read what the stage needs.

        Raises:
            UserError: the classes of two data sets differ, or one cannot be read.
        """
        super().setup(stage)
        for name, data in self.sets.items() if stage == "fit" else ():
            ours, theirs = (dict(zip(each.category_ids, each.classes, strict=True)) for each in (self, data))
            if ours != theirs:
                raise UserError(f"data.sets.{name}: has the categories {theirs}, the first one {ours}: make them agree")
            data.dataset("train")

    def train_dataloader(self) -> Any:
        """One loader for each, shuffled and augmented."""
        for data in self.sets.values():
            data.trainer = self.trainer
        return CombinedLoader({name: data.train_dataloader() for name, data in self.sets.items()}, self.mode)

    def teardown(self, stage: str) -> None:
        """Report what was skipped."""
        for data in self.sets.values():
            data.teardown(stage)


def several_data(
    sets: Mapping[str, Callable[..., DetectionData]], mode: Any = "max_size_cycle", **common: Any
) -> SeveralData:
    """Feed from several data sets.

    Args:
        sets: what makes each, such as a `partial` of `coco_data` with its files; by name.
        mode: see `SeveralData`.
        common: keywords for all that do not have their own.
    """
    own = {name: getattr(make, "keywords", {}) for name, make in sets.items()}
    return SeveralData({name: make(**common | own[name]) for name, make in sets.items()}, mode)
