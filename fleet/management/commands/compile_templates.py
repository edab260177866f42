"""`manage.py compile_templates`: every template compiles, also those that no test renders."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template import TemplateSyntaxError
from django.template.loader import get_template


class Command(BaseCommand):
    help = "Compile every template; the first that does not is named."

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = settings.BASE_DIR / "templates"
        names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.html"))]
        for name in names:
            try:
                get_template(name)
            except TemplateSyntaxError as error:
                raise CommandError(f"{name}: {error}") from error
        self.stdout.write(f"{len(names)} templates compile.")
