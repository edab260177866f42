"""relayctl.pyz: one file, the same for the same sources, that an old Python can run."""

import ast
import io
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from relays.agent import VERSION
from relays.agent.build import build, carried, main

_ROOT = Path(__file__).resolve().parents[2]


def test_the_same_sources_give_the_same_bytes() -> None:
    assert build() == build()


def test_it_begins_with_an_isolated_python() -> None:
    assert build().startswith(b"#!/usr/bin/python3 -I\n")


def test_it_holds_what_it_imports_and_no_more() -> None:
    names = set(zipfile.ZipFile(io.BytesIO(build())).namelist())

    assert "relays/agent/snapshot.py" in names
    assert "relays/domain/queue.py" in names
    assert "relays/agent/build.py" not in names
    assert "relays/domain/health.py" not in names


@pytest.mark.parametrize("path", carried(), ids=lambda path: path.name)
def test_each_source_is_python_3_9(path: Path) -> None:
    """Syntax by the parser; what has no syntax of its own (3.10's zip(strict=), StrEnum) by name."""
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    zips = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip"
    ]
    imported = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))
    assert not any(call.keywords for call in zips)
    assert not imported & {"StrEnum", "Self", "override", "assert_never", "TypeAlias", "ParamSpec", "UTC"}


@pytest.mark.parametrize("path", carried(), ids=lambda path: path.name)
def test_each_source_imports_the_standard_library_and_carried_modules_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    ours = {path.relative_to(_ROOT).with_suffix("").as_posix().replace("/", ".") for path in carried()}

    for module in modules:
        assert module is not None
        top = module.partition(".")[0]
        assert top in sys.stdlib_module_names or module in ours or module in {"relays.agent", "relays.domain"}


def test_its_version_is_the_project_s() -> None:
    assert tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_command_writes_a_program_and_prints_its_sha256(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dist" / "relayctl.pyz"

    assert main([str(path)]) == 0
    assert path.read_bytes() == build()
    assert os.access(path, os.X_OK)
    assert (
        capsys.readouterr().out.split()[0]
        == subprocess.check_output(["sha256sum", path], text=True).split()[0]
    )


def test_the_command_wants_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a", "b"]) == 2
    assert "usage" in capsys.readouterr().err
