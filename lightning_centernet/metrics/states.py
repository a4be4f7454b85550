"""What metrics keep of each image until they are computed, on one process or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.distributed
from torch import Tensor
from torchmetrics import Metric

from lightning_centernet.errors import UserError

States: TypeAlias = dict[str, list[Tensor]]  # name of a state -> one tensor an image, or nothing


class ImageStates(Metric):
    """Keep one tensor an image in every state; processes may hold any number of images, or none.

    A base or a mixin of metrics, whose states are all lists of tensors.
    """

    def _held(self) -> States:
        return {name: list(values) for name, values in self.metric_state.items()}

    def _hold(self, states: States) -> None:
        for name, values in states.items():
            setattr(self, name, values)

    def _sync_dist(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: torch.distributed.ProcessGroup | None = None,
    ) -> None:
        """Gather all ranks' states in one message: tensor by tensor, ranks of unequal length would wait for ever."""
        del dist_sync_fn
        group = process_group or self.process_group
        mine = {name: [value.numpy() for value in values] for name, values in on_host(self._held()).items()}
        ranks: list[Any] = [None] * torch.distributed.get_world_size(group)
        torch.distributed.all_gather_object(ranks, mine, group=group)
        self._hold({name: [torch.from_numpy(value) for rank in ranks for value in rank[name]] for name in mine})

    def _apply(self, fn: Callable[[Tensor], Tensor], *_: object, **__: object) -> ImageStates:
        """Follow the module to its device but not to its dtype: boxes in bfloat16 are pixels off."""
        super()._apply(lambda tensor: tensor.to(fn(tensor.new_empty(0)).device))
        return self


def on_host(states: States) -> States:
    """Copy each state's many small tensors to the host at once."""
    return {name: _split_on_host(values) for name, values in states.items()}


def _split_on_host(values: list[Tensor]) -> list[Tensor]:
    return list(torch.cat(values).cpu().split_with_sizes([len(value) for value in values])) if values else []


def each_image_once(states: States) -> States:
    """Keep each image's first appearance, sorted by id, so that ties in score do not depend on the ranks."""
    first = {int(image_id): index for index, image_id in reversed(list(enumerate(states["image_ids"])))}
    order = [first[image_id] for image_id in sorted(first)]
    return {name: [values[index] for index in order] if values else [] for name, values in states.items()}


def without_empty_slots(states: States, scores: Sequence[Tensor], names: Sequence[str]) -> States:
    """Leave out the detections whose score is 0: slots that no peak has filled.

    Args:
        states: on the host.
        scores: of each image's detections.
        names: the states that have a row for each of them.
    """
    filled = [values != 0 for values in scores]
    kept = {name: [rows[some] for rows, some in zip(states[name], filled, strict=True)] for name in names}
    return states | kept


def refuse_repeated(classes: Sequence[str]) -> None:
    """Make sure that every class has a name of its own.

    Raises:
        UserError: naming those that are given more than once.
    """
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated:
        raise UserError(f"classes: {', '.join(repeated)} given more than once; every class needs a name of its own")
