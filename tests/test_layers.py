"""The rooms of the house: who may import whom, and how large they may grow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lightning_centernet

PACKAGE = Path(lightning_centernet.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A room may import those that it names, and itself. Everybody may import `errors` and `types`.
FREE = {"errors", "types"}
CORE = {"geometry", "losses", "heads", "encoding", "generic_loss", "decoding", "models", "preparation"}
TRAINING = {"anomalies", "batches", "head_weights", "intervals", "labels", "schedules"}
ROOMS: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "geometry": set(),
    "losses": set(),
    "heads": {"geometry", "losses"},
    "encoding": {"heads"},
    "generic_loss": {"geometry", "head_weights", "heads", "losses"},
    "head_weights": set(),
    "decoding": {"geometry", "heads"},
    "lifting": {"geometry"},
    "evaluation": {"decoding", "lifting"},
    "evaluation_kitti": {"data", "metrics"},
    "views": {"decoding", "evaluation", "geometry", "heads", "models", "skeleton"},
    "models": {"heads"},
    "preparation": {"encoding", "heads"},
    "testing": {"encoding", "heads"},
    "intervals": set(),
    "schedules": set(),
    "labels": {"generic_loss", "heads"},
    "anomalies": {"intervals"},
    "gradient_norms": {"intervals"},
    "batches": set(),
    "checkpoints": {"head_weights", "heads"},
    "metrics": {"geometry"},
    "results": set(),
    "results_kitti": {"results"},
    "result_files": {"metrics", "results", "results_kitti"},
    "draw": {"geometry", "skeleton"},
    "skeleton": set(),
    "categories": {"heads"},
    "data": {"geometry", "skeleton"},
    "module": {*CORE, *TRAINING, "checkpoints", "evaluation", "metrics", "skeleton", "categories", "views"},
    "callbacks": {"draw", "evaluation", "skeleton"},
    "_conf": set(),
    "__init__": {"_conf"},
    "__main__": {"cli"},
    "cli": {
        *{"_conf", "callbacks", "checkpoints", "data", "draw", "encoding", "heads", "module"},
        *{"results", "results_kitti", "skeleton", "views"},
    },
}
DATA_MODULES = {"data/module.py", "data/several.py"}
LIBRARIES = {
    "hydra": {"cli"},
    "omegaconf": {"cli"},
    "lightning": {
        "module",
        "anomalies",
        "gradient_norms",
        "schedules",
        "callbacks",
        "result_files",
        "testing",
        "cli",
        *DATA_MODULES,
    },
    "torchmetrics": {"metrics", "module"},
    "timm": {"models"},
    "torchvision": set(),
    "cv2": {"data", "draw", "callbacks"},
    "PIL": {"data", "draw", "callbacks", "cli"},
    "rich": {"cli", "data/inspection.py"},
}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """List the modules that a file imports, also inside functions; not those that only type checkers see."""
    tree = ast.parse(file.read_text())
    seen_by_checkers = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in seen_by_checkers:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: import by full names"
            names.add(str(node.module))
    return names


def identity(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("file", FILES, ids=identity)
def test_imports_point_downward(file):
    own = room_of(file)
    assert own in ROOMS, "a new room: say above what it may import"
    rooms = {name.split(".")[1] for name in imports(file) if name.startswith("lightning_centernet.")}
    assert rooms <= ROOMS[own] | FREE | {own}


@pytest.mark.parametrize("file", FILES, ids=identity)
def test_libraries_stay_in_their_rooms(file):
    for name in {name.split(".")[0] for name in imports(file)} & set(LIBRARIES):
        assert {room_of(file), identity(file)} & LIBRARIES[name], f"{name} is not for {identity(file)}"


def test_the_rooms_have_an_order():
    """No circle: every room can be put above all that it imports."""
    below: set[str] = set()
    while rest := {room for room in ROOMS if room not in below}:
        ready = {room for room in rest if ROOMS[room] | FREE - {room} <= below or room in FREE}
        assert ready, f"these import each other: {rest}"
        below |= ready


@pytest.mark.parametrize("file", FILES, ids=identity)
def test_sizes(file):
    lines = file.read_text().splitlines()
    assert len(lines) <= 300
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            first = (node.body[1] if documented and len(node.body) > 1 else node.body[0]).lineno
            signature = node.body[0].lineno - node.lineno
            length = int(node.end_lineno or 0) - first + 1 + signature
            assert length <= 40, f"{node.name} has {length} lines"


def test_median_sizes():
    files = sorted(len(file.read_text().splitlines()) for file in FILES)
    assert files[len(files) // 2] <= 110
