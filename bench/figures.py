"""A bench's figures beside their limits, for people and (--json) for programs."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """A measured value; `at_most` or `at_least` is its limit, neither where it is only told beside."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def reached(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def limit(self) -> str:
        if self.at_most is not None:
            return f"at most {self.at_most:g} {self.unit}"
        if self.at_least is not None:
            return f"at least {self.at_least:g} {self.unit}"
        return "no limit"


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser that knows --json, for a bench to add its own options to."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON document")
    return parser


def report(figures: Sequence[Figure], *, as_json: bool) -> int:
    """Print the figures. Return the process's exit status: 1 where one falls short."""
    if as_json:
        print(json.dumps([{**asdict(figure), "reached": figure.reached} for figure in figures], indent=1))
    else:
        width = max(len(figure.name) for figure in figures)
        for figure in figures:
            verdict = "" if figure.limit == "no limit" else ("reached" if figure.reached else "FALLS SHORT")
            print(
                f"{figure.name:<{width}}  {figure.value:>10.3f} {figure.unit:<6} {figure.limit:<22} {verdict}"
            )
    short = [figure.name for figure in figures if not figure.reached]
    if short:
        print(f"falls short: {', '.join(short)}", file=sys.stderr)
    return 1 if short else 0
