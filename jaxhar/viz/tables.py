"""Joins and prints the tables of the report."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table as Rich

from jaxhar.evaluation.sections import Table


def side_by_side(tables: Iterable[Table]) -> list[Table]:
    """Joins tables of the same title: rows by name, columns by title. The order of titles is kept."""
    found: dict[str, Table] = {}
    for table in tables:
        found[table.title] = _joined(found[table.title], table) if table.title in found else table
    return list(found.values())


def _joined(a: Table, b: Table) -> Table:
    """Joins two tables. A cell that both have is taken from `b`. New columns are put before grey columns at the end."""
    columns = list(a.columns)
    end = len(columns)
    while end - 1 in a.soft:
        end -= 1
    columns[end:end] = [name for name in b.columns if name not in columns]
    rows, foot = (_rows(getter(a), getter(b)) for getter in (lambda t: t.rows, lambda t: t.foot))
    cells, bars, best, soft = {}, {}, set(), set()
    for table in (a, b):
        for row in (*table.rows, *table.foot):
            cells.update({(row[0], name): text for name, text in zip(table.columns, row, strict=True)})
        for column, shares in table.bars.items():
            names = (row[0] for row in table.rows)
            bars.update({(name, table.columns[column]): share for name, share in zip(names, shares, strict=True)})
        best |= {("" if row < 0 else table.rows[row][0], table.columns[column]) for row, column in table.best}
        soft |= {table.columns[column] for column in table.soft}
    places = {name: n for n, name in enumerate(rows)} | {"": -1}
    return Table(
        a.title,
        tuple(columns),
        rows=tuple(tuple(cells.get((row, name), "") for name in columns) for row in rows),
        foot=tuple(tuple(cells.get((row, name), "") for name in columns) for row in foot),
        soft=tuple(n for n, name in enumerate(columns) if name in soft),
        bars={
            n: tuple(bars.get((row, name), 0.0) for row in rows)
            for n, name in enumerate(columns)
            if any(column == name for _, column in bars)
        },
        best=tuple(sorted((places[row], columns.index(name)) for row, name in best)),
        brief=a.brief and b.brief,
        folded=a.folded and b.folded,
        note=b.note or a.note,
    )


def _rows(a: tuple[tuple[str, ...], ...], b: tuple[tuple[str, ...], ...]) -> list[str]:
    """Names of the rows of both tables, in the order of the longer one."""
    longer, other = (b, a) if len(b) > len(a) else (a, b)
    return list(dict.fromkeys(row[0] for row in (*longer, *other)))


def show(table: Table, console: Console) -> None:
    """Print a table; cells with a star end in " *". What is too wide for the console goes on in the next line."""
    best = set(table.best)
    out = Rich(title=table.title, title_justify="left", caption=table.note or None)
    for n, name in enumerate(table.columns):
        title = name + (" *" if (-1, n) in best else "")
        justify, style = "right" if n else "left", "dim" if n in table.soft else None
        out.add_column(title, justify=justify, style=style, overflow="fold")  # type: ignore[arg-type]
    rows = () if table.brief else table.rows
    for n, row in enumerate(rows):
        cells = (text + (" *" if (n, column) in best else "") for column, text in enumerate(row))
        out.add_row(*cells, end_section=bool(table.foot) and n == len(rows) - 1)
    for row in table.foot:
        out.add_row(*row, style="bold")
    console.print(out)
