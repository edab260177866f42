"""Our `dns/` and dnspython share one import name: docs/decisions/0001-dns-package.md."""

from importlib.metadata import distribution
from pathlib import Path

from django.conf import settings

import dns
import dns.models
import dns.resolver

DNSPYTHON = Path(str(distribution("dnspython").locate_file("dns")))


def module_names(folder: Path) -> set[str]:
    """Return what can be imported from a package's folder: its modules and its sub-packages."""
    return {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()} - {
        "__init__",
        "__pycache__",
    }


def test_ours_and_theirs_are_both_importable() -> None:
    assert Path(dns.models.__file__ or "").parent == settings.BASE_DIR / "dns"
    assert Path(dns.resolver.__file__ or "").parent == DNSPYTHON
    assert dns.__version__ == distribution("dnspython").version


def test_no_module_of_ours_hides_one_of_theirs() -> None:
    theirs = module_names(DNSPYTHON)
    assert {"message", "name", "resolver", "update", "zone"} <= theirs, "the list of their modules is wrong"
    assert module_names(settings.BASE_DIR / "dns").isdisjoint(theirs)
