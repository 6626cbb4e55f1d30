"""Our figures beside those of a publication and those that the authors' rules of counting give."""

import numpy as np

from jaxhar.evaluation.results import AUTHORS, Published, Results

#: Columns of `rows`.
COLUMNS = ("figure", "ours", "by the authors' rules", "published", "published protocol")


def number(value: float, unit: str = "%") -> str:
    """A fraction as a percentage, or a distance as it is; a dash where nothing was counted."""
    if np.isnan(value):
        return "–"
    return f"{value * 100:.1f}" if unit == "%" else f"{value:.2f}"


def rows(results: Results, published: tuple[str | Published, ...]) -> list[tuple[str, ...]]:
    """Rows of the figures that a publication or the authors' rules give, too."""
    figures = results.scalars()
    units = {metric.key: metric.unit for metric in results.pose}
    known = [p for p in published if isinstance(p, Published)]
    second = [key.removesuffix(f"/{AUTHORS}") for key in figures if key.endswith(f"/{AUTHORS}")]
    found = []
    for key in dict.fromkeys([*(p.key for p in known), *second]):
        theirs: list[Published | None] = [p for p in known if p.key == key]
        unit = next((p.unit for p in known if p.key == key), units.get(key, "%"))
        own = [number(figures.get(name, np.nan), unit) for name in (key, f"{key}/{AUTHORS}")]
        for figure in theirs or [None]:
            said = (number(figure.value, unit), figure.protocol) if figure else ("", "")
            found.append((f"{key}, {unit}", *own, *said))
    return found


def notes(results: Results) -> list[str]:
    """How the figures were taken, in sentences."""
    words = list(results.notes)
    if any(metric.unit == "%" for metric in results.pose):
        words.append("Every labelled joint counts, also one outside of the crop.")
    if any(metric.protocol.endswith(AUTHORS) for metric in results.pose):
        words.append(
            "The authors' rules: joints outside of the crop do not count, and the lens is undone in their closed form."
        )
    for result in results.action:
        if result.short is not None and result.authors is not None and result.short.count[-1]:
            words.append(
                f"{result.short.count[-1]} sequences are too short for a clip of “{result.protocol}” and are judged by "
                f"their centred one ({result.short.total[-1]} right); the authors' script counts them as recognised: "
                f"{number(result.authors.compute()[-1])} %."
            )
    return words
