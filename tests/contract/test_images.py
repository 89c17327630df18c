"""Each image of the Dockerfile has the packages that its code imports, and no torch where nothing trains."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OWN = {"events", "producers", "projections", "api", "trainers", "training_sdk", "stack"}
LIST = re.compile(r"requirements/(\w+)\.txt")
EXTRA = ROOT / "sdk/training_sdk/replay"
"""For `training-sdk[analysis]`: the rest of the SDK works without it. The archive's writer brings its own pyarrow."""


def stages() -> dict[str, tuple[set[str], set[str]]]:
    """Target -> (folders of ours that it holds, names of its lists of packages); a stage has what its base has."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    current: tuple[set[str], set[str]] = (set(), set())
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if begin := re.match(r"FROM (\S+) AS (\S+)", line):
            folders, lists = found.get(begin[1], (set(), set()))
            current = found[begin[2]] = (set(folders), set(lists))
        elif copy := re.match(r"COPY (?!--from)(\S+) ", line):
            if wanted := LIST.fullmatch(copy[1]):
                current[1].add(wanted[1])
            else:
                current[0].add(copy[1])
    return {target: stage for target, stage in found.items() if stage[1]}


def pinned(lists: set[str]) -> set[str]:
    text = "\n".join((ROOT / "requirements" / f"{name}.txt").read_text() for name in lists)
    return {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def imported(node: ast.AST) -> Iterator[str]:
    """Top-level names of imported modules, also inside functions; not those that the code can do without."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Try) and any("ImportError" in ast.unparse(handler) for handler in child.handlers):
            continue
        if isinstance(child, ast.Import):
            yield from (name.name.partition(".")[0] for name in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and child.level == 0:
            yield child.module.partition(".")[0]
        yield from imported(child)


@pytest.mark.parametrize("target", sorted(stages()))
def test_an_image_has_the_packages_that_its_code_imports(target: str) -> None:
    folders, lists = stages()[target]
    packages, distributions = pinned(lists), packages_distributions()
    missing = {}
    for folder in folders:
        # A file or a pattern of files, or a folder with everything in it.
        for path in ROOT.glob(folder if folder.endswith(".py") else f"{folder}/**/*.py"):
            if EXTRA in path.parents:
                continue
            for module in imported(ast.parse(path.read_text())):
                if module in sys.stdlib_module_names or module in OWN:
                    continue
                carriers = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
                if not carriers & packages:
                    missing[module] = str(path.relative_to(ROOT))
    assert missing == {}, f"add them to the group of pyproject.toml that {target} installs, then `make lock`"


def test_torch_is_only_where_something_trains() -> None:
    carriers = {target for target, (_, lists) in stages().items() if "torch" in pinned(lists)}
    assert carriers == {"launcher", "launcher-timm", "launcher-transformers"}


def test_an_images_packages_have_the_versions_that_are_tested() -> None:
    tested = re.findall(r"^([\w.-]+==[^\s\\]+)", (ROOT / "requirements" / "all.txt").read_text(), re.MULTILINE)
    for _, lists in stages().values():
        for name in lists:
            text = (ROOT / "requirements" / f"{name}.txt").read_text()
            assert set(re.findall(r"^([\w.-]+==[^\s\\]+)", text, re.MULTILINE)) <= set(tested), name
