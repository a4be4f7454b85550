"""Which head dominates: the norm of the gradient that each one sends into what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_centernet.intervals import LoggedSteps
from lightning_centernet.types import Outputs, Tensors


class GradientNorms(Callback):
    """Log `train/gradient/<head>`, in the steps that the trainer logs; nothing waits for the device in between.

    It is the norm of the gradient at the features that the head reads, weights included, over all stacks and images of
    one batch on this process. Where a backbone brings its own heads, it is that at the head's output. The loss scale
    of 16-mixed is taken out again.
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []
        self._squares: dict[str, list[Tensor]] = {}
        self._logged = LoggedSteps()
        self._wanted = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look at the gradients from now on."""
        self._release()
        if stage != "fit":
            return
        network: nn.Module = pl_module.network  # type: ignore[assignment]  # a module may have any attribute
        stacks: Iterable[nn.ModuleDict] = network.stacks  # type: ignore[assignment]
        layers = [(name, head) for stack in stacks for name, head in stack.items()]
        self._handles = [head.register_full_backward_hook(self._at_features(name)) for name, head in layers]
        if not layers:
            self._handles = [network.register_forward_hook(self._at_outputs)]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look away."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Look away; there will be no teardown."""
        self._release()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Forget the last batch, and look at this one if it is logged."""
        self._squares, self._wanted = {}, self._logged.coming(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Log the norms."""
        if not self._logged.due(trainer):
            return
        norms: Tensors = {name: torch.stack(squares).sum().sqrt() for name, squares in self._squares.items()}
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            norms = {name: norm / scaler.scale(torch.ones_like(norm)) for name, norm in norms.items()}
        pl_module.log_dict({f"train/gradient/{name}": norm for name, norm in norms.items()}, batch_size=1)

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _at_features(self, name: str) -> Callable[..., None]:
        def keep(layers: nn.Module, at_input: tuple[Tensor | None, ...], at_output: Any) -> None:
            if at_input[0] is not None:
                self._keep(name, at_input[0])

        return keep

    def _at_outputs(self, network: nn.Module, image: Any, stacks: list[Outputs]) -> None:
        for name, output in ((name, output) for stack in stacks for name, output in stack.items()):
            if output.requires_grad:
                output.register_hook(partial(self._keep, name))  # type: ignore[no-untyped-call]

    def _keep(self, name: str, gradient: Tensor) -> None:
        if self._wanted:
            self._squares.setdefault(name, []).append(gradient.detach().float().square().sum())
