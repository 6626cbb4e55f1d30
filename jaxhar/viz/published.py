"""Table of our figures, the published ones, and ours by deephar's rules."""

import numpy as np

from jaxhar.evaluation.results import Published, Results
from jaxhar.evaluation.sections import Table, number


def table(results: Results) -> Table | None:
    """A row for each figure with a published value, or with a value by other rules ("KEY/deephar"); None if empty."""
    figures, units = results.scalars(), results.units()
    variants = tuple(dict.fromkeys(section.variant for section in results.sections if section.variant))
    known = [p for p in results.published if isinstance(p, Published)]
    second = [
        key.removesuffix(f"/{section.variant}")
        for section in results.sections
        for key in section.scalars
        if section.variant and key.endswith(f"/{section.variant}")
    ]
    rows = []
    for key in dict.fromkeys([*(p.key for p in known), *second]):
        theirs: list[Published | None] = [p for p in known if p.key == key]
        unit = next((p.unit for p in known if p.key == key), units.get(key, "%"))
        names = (key, *(f"{key}/{variant}" for variant in variants))
        ours = [number(figures.get(name, np.nan), unit) for name in names]
        for figure in theirs or [None]:
            published = (number(figure.value, unit), figure.protocol) if figure else ("", "")
            rows.append((f"{key}, {unit}", *ours, *published))
    if not rows:
        return None
    rules = tuple(f"by {variant}'s rules" for variant in variants)
    return Table("Beside published figures", ("figure", "ours", *rules, "published", "published protocol"), tuple(rows))
