"""Mistakes in a data set: training stops at the first kind, `inspect` collects them all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from lightning_centernet.errors import UserError

_logger = logging.getLogger(__name__)


class Problems(list[str]):
    """Problems, a line each; and in `notes`, what training copes with."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []


_collected: ContextVar[Problems | None] = ContextVar("collected", default=None)


@contextmanager
def collect_problems() -> Iterator[Problems]:
    """Note problems in the list that is yielded, instead of raising; readers leave out what is at fault and go on."""
    problems = Problems()
    token = _collected.set(problems)
    try:
        yield problems
    except UserError as error:  # so bad that nothing more can be read
        problems.append(str(error))
    finally:
        _collected.reset(token)


def complain(problems: Sequence[str]) -> None:
    """Report problems of one kind; none at all is fine.

    Raises:
        UserError: the first problem, and how many more there are; not inside `collect_problems`.
    """
    if not problems:
        return
    collected = _collected.get()
    if collected is not None:
        collected.extend(problems)
        return
    more = f" (and {len(problems) - 1} more like this: see `inspect`)" if len(problems) > 1 else ""
    raise UserError(problems[0] + more)


def remark(summary: str, lines: Sequence[str]) -> None:
    """Warn of what training copes with, once for all lines; inside `collect_problems` each becomes a note."""
    collected = _collected.get()
    if lines and collected is None:
        _logger.warning("%s; the first: %s", summary, lines[0])
    elif collected is not None:
        collected.notes.extend(lines)
