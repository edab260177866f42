"""Rules of the house that no linter knows: what templates may hold, who speaks SSH, what the README tells."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

BASE: Path = settings.BASE_DIR
TEMPLATES = sorted((BASE / "templates").rglob("*.html"))
OURS = ("fleet", "relays", "dns")

# What a strict Content-Security-Policy forbids, and what turns escaping off.
FORBIDDEN_IN_TEMPLATES = {
    "|safe": re.compile(r"\|\s*safe(seq)?\b"),
    "autoescape off": re.compile(r"\{%\s*autoescape\s+off"),
    "an inline style": re.compile(r"\sstyle\s*=|<style\b", re.IGNORECASE),
    "an inline script": re.compile(
        r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")", re.IGNORECASE
    ),
    "an event attribute": re.compile(r"\s(on[a-z]+|hx-on[:a-z-]*)\s*=", re.IGNORECASE),
    "a javascript: address": re.compile(r"javascript:", re.IGNORECASE),
}


def test_there_are_templates_to_look_at() -> None:
    assert BASE / "templates" / "base.html" in TEMPLATES


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(BASE)))
def test_a_template_has_nothing_inline_and_escapes_everything(path: Path) -> None:
    text = path.read_text()
    found = [name for name, pattern in FORBIDDEN_IN_TEMPLATES.items() if pattern.search(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "{{ x|safe }}",
        '<p style="color: red">',
        "<script>alert(1)</script>",
        '<a onclick="f()">',
        "{% autoescape off %}",
    ],
)
def test_the_fence_sees_what_it_forbids(text: str) -> None:
    assert any(pattern.search(text) for pattern in FORBIDDEN_IN_TEMPLATES.values())


def imports() -> Iterator[tuple[str, str]]:
    """Give every module that ours import, however it is written: (path, dotted name)."""
    for path in (path for folder in OURS for path in (BASE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = str(path.relative_to(BASE))
            if isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((name, f"{node.module}.{alias.name}") for alias in node.names)


def test_one_module_speaks_ssh() -> None:
    assert {path for path, name in imports() if name.split(".")[0] == "paramiko"} == {"relays/remote/ssh.py"}


def is_dnspythons(name: str) -> bool:
    """Tell whether a dotted name is a module of dnspython's: under `dns`, and not a file of ours."""
    first, *rest = name.split(".")
    ours = rest and ((BASE / "dns" / rest[0]).is_dir() or (BASE / "dns" / f"{rest[0]}.py").exists())
    return first == "dns" and bool(rest) and not ours


def test_dnspython_is_imported_only_where_names_are_looked_up_or_published() -> None:
    importers = {path for path, name in imports() if is_dnspythons(name)}
    assert all(path == "dns/lookup.py" or path.startswith("dns/publishing/") for path in importers)


def test_the_readme_lists_every_variable() -> None:
    sources = [BASE / "run", *(path for folder in OURS for path in (BASE / folder).rglob("*.py"))]
    used = set().union(*(re.findall(r"\bFLEET_[A-Z][A-Z_]+\b", path.read_text()) for path in sources))
    told = set(re.findall(r"`(FLEET_[A-Z_]+)`", (BASE / "README.md").read_text()))
    # Names inside `run` alone, not variables of the environment.
    assert used - {"FLEET_PACKAGES"} <= told
