"""The order of the words, and the shell's completion."""

from __future__ import annotations

import os

import pytest
from hydra._internal.utils import get_args_parser

from lightning_centernet.cli.arguments import COMMANDS, UsageError, arrange, complete_command


@pytest.mark.parametrize(
    "words",
    [
        "fit --config-dir D a=1 -m b=2,3",
        "--config-dir D fit a=1 b=2,3 --multirun",
        "-m a=1 --config-dir=D b=2,3 fit",
        "a=1 fit -cd D b=2,3 -m",
    ],
)
def test_flags_may_stand_anywhere(words: str) -> None:
    arranged = arrange(words.split())
    assert arranged == ["--multirun", "--config-dir=D", "a=1", "b=2,3", "++mode=fit"]
    # Hydra's own parser takes one unbroken run of overrides; it must read the same from the result.
    flags = get_args_parser().parse_args(arranged)
    assert (flags.overrides, flags.config_dir, flags.multirun) == (["a=1", "b=2,3", "++mode=fit"], "D", True)


def test_value_of_a_flag_is_no_command() -> None:
    assert arrange(["--config-name", "fit", "test"]) == ["--config-name=fit", "++mode=test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str) -> None:
    assert arrange([command]) == [f"++mode={command}"]


def test_what_lightning_gives_its_processes_stays() -> None:
    words = ["data=voc", "++mode=fit", 'hydra.run.dir="a=b c"', "hydra.job.name=train_ddp_process_1"]
    assert arrange(words) == words


def test_deletion_is_no_command() -> None:
    assert arrange(["fit", "~callbacks.drawings"]) == ["~callbacks.drawings", "++mode=fit"]


@pytest.mark.parametrize("words", ["--help", "--cfg job", "--info searchpath", "-sc query=bash"])
def test_questions_need_no_command(words: str) -> None:
    assert not any("mode=" in word for word in arrange(words.split()))


def test_hydra_help_gets_no_overrides() -> None:
    assert arrange(["fit", "--hydra-help", "a=1"]) == ["--hydra-help"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "usage: lightning-centernet"),
        ("a=1", "usage: lightning-centernet"),
        ("fti", "unknown command 'fti'. Did you mean 'fit'?"),
        ("predict image.jpg", "'predict' and 'image.jpg'"),
    ],
)
def test_unreadable_command_lines(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.").replace("?", r"\?")):
        arrange(words.split())


@pytest.mark.parametrize(
    ("line", "answer", "left"),
    [
        ("lightning-centernet ", "fit validate test predict inspect", None),
        ("lightning-centernet va", "validate", None),
        ("lightning-centernet fit data=", None, "lightning-centernet data="),
        ("lightning-centernet da", None, "lightning-centernet da"),
    ],
)
def test_completion_of_commands(monkeypatch: pytest.MonkeyPatch, line: str, answer: str, left: str | None) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert complete_command(["-sc", "query=bash"]) == answer
    if left:  # to Hydra
        assert os.environ["COMP_LINE"] == left


def test_completion_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "lightning-centernet ")
    assert complete_command(["fit"]) is None
