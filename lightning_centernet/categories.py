"""Names and ids of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_centernet.errors import UserError
from lightning_centernet.heads import Head


def complete_classes(
    names: Sequence[str] | None, ids: Sequence[int] | None, heads: Mapping[str, Head]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Number the classes that have no names, and give them ids from 1 on where they have none.

    Raises:
        UserError: there are not as many ids as names.
    """
    names = tuple(names or map(str, range(heads["hm"].channels if "hm" in heads else 0)))
    ids = tuple(ids or range(1, len(names) + 1))
    if len(ids) != len(names):
        raise UserError(f"there are {len(ids)} category_ids for {len(names)} classes")
    return names, ids
