"""The queue by recipient domain and age (qshape's table), as a plotly heat map."""

from html import escape
from math import log10
from typing import Any

# Weak to strong on white and on near-black alike.
SCALE = [[0.0, "rgba(217,115,13,0.12)"], [1.0, "rgba(217,90,13,0.75)"]]
ROW_PX = 26
LABEL_CHARS = 44


def ages_figure(domains: list[str], ages: list[str], counts: list[list[int]]) -> dict[str, Any]:
    """Return the figure: a row a domain, the busiest on top, a column an age.

    counts: recipients by domain and age. The colour follows the logarithm, so that a domain with ten does
    not vanish beside one with ten thousand; none is left blank.
    """
    return {
        "data": [
            {
                "type": "heatmap",
                "x": ages,
                "z": [[log10(number) + 0.1 if number else None for number in row] for row in counts],
                "text": [[f"{number:,}" if number else "" for number in row] for row in counts],
                "customdata": [[escape(domain)] * len(ages) for domain in domains],
                "texttemplate": "%{text}",
                "colorscale": SCALE,
                "showscale": False,
                "xgap": 1,
                "ygap": 1,
                "hoverongaps": False,
                "hovertemplate": "%{customdata}<br>up to %{x}: %{text} recipients<extra></extra>",
            }
        ],
        "layout": {
            "margin": {"l": 8, "r": 16, "t": 32, "b": 8},
            "height": 64 + ROW_PX * max(3, len(domains)),
            "xaxis": {
                "side": "top",
                "type": "category",
                "fixedrange": True,
                "showgrid": False,
                "automargin": True,
            },
            "yaxis": {
                "autorange": "reversed",
                "tickmode": "array",
                "tickvals": list(range(len(domains))),
                "ticktext": [_label(domain) for domain in domains],
                "automargin": True,
                "fixedrange": True,
                "showgrid": False,
                "zeroline": False,
            },
        },
    }


def _label(domain: str) -> str:
    """Return a domain as an axis shows it. plotly reads a little HTML in labels; a domain may hold some."""
    if len(domain) > LABEL_CHARS:
        domain = f"{domain[: LABEL_CHARS - 16]}…{domain[-15:]}"
    return escape(domain)
