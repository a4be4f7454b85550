"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import lightning_centernet

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(lightning_centernet.__path__, "lightning_centernet.")
    if not module.name.endswith("__main__")
)


def examples(name: str) -> list[doctest.DocTest]:
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


@pytest.mark.parametrize("test", [test for name in MODULES for test in examples(name)], ids=lambda test: test.name)
def test_example(test):
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def test_main_entries_have_examples():
    documented = {test.name.rpartition(".")[2] for name in MODULES for test in examples(name)}
    assert {"CenterNet", "GenericLoss", "encode", "standard_heads", "fake_batch"} <= documented
