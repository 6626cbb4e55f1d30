"""What an evaluation found, to look at: tables on the screen, `report.html` and picture files."""

import base64
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.metrics import State, by_group
from jaxhar.evaluation.results import AUTHORS, ActionResult, PoseResult, Published, Results, Sample
from jaxhar.host import files
from jaxhar.viz import draw as viz
from jaxhar.viz import plots
from jaxhar.viz import published as comparison
from jaxhar.viz.published import number

TRUTH: viz.Colour = (245, 245, 245)


def write(
    workdir: Path,
    results: Results,
    title: str,
    history: Path | None = None,
    published: tuple[str | Published, ...] = (),
    console: Console | None = None,
) -> Path:
    """Show the results on screen and write `report.html` (one file, nothing linked) and `pictures/*.png`.

    Args:
      workdir: made if it does not exist.
      results: of `evaluate.run`.
      title: heading of the page.
      history: metrics.jsonl, a JSON object with "step" per line; `workdir`'s own if None. Absent: no curves.
      published: figures to print beside ours, each with its protocol; a sentence stands by itself.
      console: where the tables go, the terminal if None.

    Returns:
      Path of the page.

    Raises:
      Problem: the folder cannot be written, or a line of the history is damaged.
    """
    workdir = Path(workdir)
    pictures = workdir / "pictures"
    show(results, published, console)
    curves = plots.read_history(history or workdir / "metrics.jsonl")
    svg = ""
    if curves:
        figure = plots.curves_figure(curves)
        svg = plots.inline_svg(figure)
        files.write(pictures / "curves.png", plots.rendered(figure, "png"))
    for result in results.action:
        figure = plots.confusion_figure(result, results.classes)
        files.write(pictures / f"confusion_{result.protocol}.png", plots.rendered(figure, "png"))
    drawn = _labelled_joints(results)
    images = [_picture(sample, results.skeleton, drawn) for sample in results.samples]
    for old in sorted(pictures.glob("sample_*.png"))[len(images) :]:
        old.unlink()  # of an earlier report with more frames
    for n, image in enumerate(images):
        files.write(pictures / f"sample_{n + 1:02d}.png", _encoded(image, ".png"))
    page = workdir / "report.html"
    files.write(page, _page(results, title, published, svg, images).encode())
    return page


def show(results: Results, published: tuple[str | Published, ...] = (), console: Console | None = None) -> None:
    """The tables of the report on the terminal: per joint (or MPII's columns) and mean, per action, per head, and what
    the authors' rules or a publication give in place of ours."""
    console = console or Console()
    for context in _pose_tables(results, short=True):
        table = Table(title=context["title"], title_justify="left")
        table.add_column(context["head"])
        table.add_column("labelled", justify="right", style="dim")
        for n, block in enumerate(context["blocks"]):
            table.add_column(block + (" *" if n == context["best"] else ""), justify="right")
        rows = context["rows"]
        for n, row in enumerate(rows):
            table.add_row(row["name"], row["count"], *row["cells"], end_section=n == len(rows) - 1)
        for row in context["means"]:
            table.add_row(row["name"], row["count"], *row["cells"], style="bold")
        console.print(table)
    if results.action:
        protocols = [result.protocol for result in results.action]
        table = Table(title="Accuracy by action, %", title_justify="left", caption=_left_out(results.action[-1]))
        for name in ("action", "sequences", *protocols):
            table.add_column(name, justify="left" if name == "action" else "right")
        table.add_column("most often taken for", style="dim")
        for row in _class_rows(results):
            table.add_row(row["name"], row["count"], *(c["text"] for c in row["cells"]), row["taken_for"])
        console.print(table)
        table = Table(title="Accuracy by head, %", title_justify="left")
        table.add_column("head")
        for name in protocols:
            table.add_column(name, justify="right")
        for row in _head_rows(results.action):
            table.add_row(row["name"], *(c["text"] + (" *" if c["best"] else "") for c in row["cells"]))
        console.print(table)
    if results.pose or results.action:
        console.print("* best block or head, chosen on this set; the last one is the network's answer", style="dim")
    rows = comparison.rows(results, published)
    if rows:
        table = Table(*comparison.COLUMNS, title="Beside the authors' figures", title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in (*(p for p in published if isinstance(p, str)), *comparison.notes(results)):
        console.print(line, highlight=False)


def _page(
    results: Results, title: str, published: tuple[str | Published, ...], svg: str, images: Sequence[np.ndarray]
) -> str:
    import jinja2

    source = resources.files("jaxhar").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    counts = " · ".join(f"{n:,} clips ({protocol})" for protocol, n in results.examples.items())
    return environment.from_string(source).render(
        title=title,
        subtitle=f"{results.split} split · {counts}",
        tiles=_tiles(results),
        compared=comparison.rows(results, published),
        compared_head=comparison.COLUMNS,
        published=[line for line in published if isinstance(line, str)],
        notes=comparison.notes(results),
        pose=_pose_tables(results),
        protocols=[result.protocol for result in results.action],
        protocol_note=_protocol_note(results.action),
        heads=_head_rows(results.action),
        classes=_class_rows(results) if results.action else [],
        confusions=[_confusion_table(result, results.classes) for result in results.action],
        mistakes=_mistakes(results),
        curves=Markup(svg),
        gallery=[_card(s, i, results.classes) for s, i in zip(results.samples, images, strict=True)],
        colours={
            "truth": TRUTH,
            "predicted right side": viz.RIGHT,
            "predicted left side": viz.LEFT,
            "predicted trunk and head": viz.CENTRE,
        },
        footer=f"skeleton {results.skeleton.name}, {len(results.skeleton)} joints, {len(results.classes)} actions",
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _tiles(results: Results) -> list[dict[str, str]]:
    tiles = []
    for metric in _own(results):
        means, counts = metric.state.pooled(), metric.state.count[-1].sum() // metric.terms
        note = f"{counts:,} joints pooled (micro); mean of joints {number(metric.state.macro()[-1], metric.unit)}"
        if len(means) > 1:
            best = number(means[metric.best], metric.unit)
            note += f"; last block of {len(means)}, best block {metric.best + 1}: {best}"
        name = f"{metric.name}, {metric.protocol}" if metric.protocol else metric.name
        tiles.append({"name": name, "value": f"{number(means[-1], metric.unit)} {metric.unit}", "note": note})
    for result in results.action:
        rates = result.state.compute()
        low, high = (number(bound) for bound in result.interval)
        note = (
            f"{result.state.total[-1]:,} of {result.state.count[-1]:,} right, 95 % interval (Wilson) {low} to {high}; "
        )
        note += f"mean of classes {number(result.balanced)}; head {result.heads[-1]}"
        if len(rates) > 1:
            note += f", best head {result.heads[result.best]}: {number(rates[result.best])}"
        name = f"Action accuracy, {_of_protocol(result.protocol)}"
        tiles.append({"name": name, "value": f"{number(rates[-1])} %", "note": note})
    return tiles


def _own(results: Results) -> list[PoseResult]:
    """Those that are not counted by the authors' rules."""
    return [metric for metric in results.pose if not metric.protocol.endswith(AUTHORS)]


def _pose_tables(results: Results, short: bool = False) -> list[dict[str, Any]]:
    """Columns by block, rows by joint, and by activity where a metric has that, as text.

    `short` leaves the joints out where there are MPII's columns.
    """
    found = []
    for metric in _own(results):
        table = _joint_table(metric, results.skeleton)
        found.append(table | {"rows": []} if short and metric.grouped else table)
        if metric.actions:
            found.append(_activity_table(metric, metric.actions, results.classes))
    return found


def _table(metric: PoseResult, head: str, rows: Sequence[tuple], means: Sequence[tuple]) -> dict[str, Any]:
    """Rows are (name, values by block, count as text)."""
    last = [float(values[-1]) for _, values, _ in rows if not np.isnan(values[-1])]
    ceiling = 1.0 if metric.unit == "%" else max(1e-9, *last, 0.0)

    def row(name: str, values: np.ndarray, count: str) -> dict[str, Any]:
        bar = 0.0 if np.isnan(values[-1]) else 100 * values[-1] / ceiling
        return {"name": name, "count": count, "cells": [number(v, metric.unit) for v in values], "bar": f"{bar:.1f}"}

    blocks = len(metric.state.count)
    names = [f"block {n + 1}" for n in range(blocks)]
    names[-1] += ", last"
    return {
        "title": f"{metric.name}, {metric.unit}" + (f", {metric.protocol}" if metric.protocol else ""),
        "head": head,
        "best": metric.best if blocks > 1 else -1,
        "blocks": names if blocks > 1 else [metric.name],
        "rows": [row(*r) for r in rows],
        "means": [row(*r) for r in means],
    }


def _joint_table(metric: PoseResult, skeleton: Skeleton) -> dict[str, Any]:
    """Joints that are never labelled are left out."""
    rates, counts = metric.state.compute(), metric.state.count[-1] // metric.terms
    groups = by_group(metric.state, skeleton) if metric.grouped else {}
    total = "Total" if groups else "all joints"
    return _table(
        metric,
        "joint",
        [(_words(joint), rates[:, j], f"{counts[j]:,}") for j, joint in enumerate(skeleton.joints) if counts[j]],
        [
            *((name, values, "") for name, values in groups.items() if name != "Total"),
            (total, metric.state.pooled(), f"{counts.sum():,}"),
            ("mean of joints", metric.state.macro(), ""),
        ],
    )


def _activity_table(metric: PoseResult, actions: State, classes: tuple[str, ...]) -> dict[str, Any]:
    """Activities that do not occur are left out."""
    means, counts = actions.pooled(), actions.count[:, -1].sum(-1)
    seen = [n for n in range(len(classes)) if counts[n]]
    table = _table(
        metric,
        "activity",
        [(_words(classes[n]), means[n], f"{counts[n]:,}") for n in seen],
        [("all joints", metric.state.pooled(), f"{counts.sum():,}"), ("mean of activities", means[seen].mean(0), "")],
    )
    return table | {"title": f"{table['title']}, by activity"}


def _protocol_note(action: Sequence[ActionResult]) -> str:
    kinds = {
        "single": "“single” takes one centred clip per sequence.",
        "multi": "“multi” multiplies the probabilities of all clips of a sequence and of their mirror images.",
        "network": "“network” takes one centred clip per sequence, of people or videos that it was not trained on.",
        "baseline": "“baseline” is a logistic regression on the normalised joints that the same pose network finds.",
    }
    words = [kinds[result.protocol] for result in action if result.protocol in kinds]
    for result in action:
        if result.missing:
            words.append(f"{result.missing} sequences gave no clip for “{result.protocol}” and are not counted.")
    words.append("The last head is the network's answer; ★ marks the best one, chosen on this very set.")
    return " ".join([*words, *(_left_out(result) for result in action[-1:])])


def _left_out(result: ActionResult) -> str:
    """A sentence on the classes that the tables do not show, if there are any."""
    absent = len(result.confusion) - len(result.occurring)
    return f"{absent} actions that do not occur are left out." if absent else ""


def _head_rows(action: Sequence[ActionResult]) -> list[dict[str, Any]]:
    """Results of fewer heads have their last ones."""
    if not action:
        return []
    names = max((result.heads for result in action), key=len)
    rows = []
    for n, name in enumerate(names, -len(names)):
        rates = [result.state.compute() if -n <= len(result.heads) else None for result in action]
        cells = [
            {"text": "", "best": False}
            if rate is None
            else {"text": number(rate[n]), "best": len(rate) > 1 and n + len(rate) == result.best}
            for result, rate in zip(action, rates, strict=True)
        ]
        rows.append({"name": name, "cells": cells})
    return rows


def _of_protocol(protocol: str) -> str:
    return f"{protocol} clip" if protocol in ("single", "multi") else protocol


def _class_rows(results: Results) -> list[dict[str, Any]]:
    rows = []
    last = results.action[-1].confusion
    for n in results.action[-1].occurring:
        rates = [result.per_class.compute()[n] for result in results.action]
        others = np.where(np.arange(len(last)) == n, 0, last[n])
        taken_for = f"{_words(results.classes[others.argmax()])} ({others.max()})" if others.any() else ""
        cells = [{"text": number(rate), "bar": f"{100 * np.nan_to_num(rate):.1f}"} for rate in rates]
        name = _words(results.classes[n])
        rows.append({"name": name, "count": f"{last[n].sum():,}", "cells": cells, "taken_for": taken_for})
    return rows


def _confusion_table(result: ActionResult, classes: tuple[str, ...]) -> dict[str, Any]:
    shares = np.nan_to_num(result.confusion / np.maximum(result.confusion.sum(1, keepdims=True), 1))
    shown = [(n, _words(classes[n])) for n in result.occurring]
    return {
        "title": f"{_of_protocol(result.protocol)}, head {result.heads[-1]}",
        "names": [name for _, name in shown],
        "rows": [
            {
                "name": name,
                "cells": [
                    {
                        "name": other,
                        "count": int(result.confusion[i, j]),
                        "kind": "right" if i == j else "wrong",
                        "tint": f"{0.06 * (i == j) + 0.8 * shares[i, j]:.2f}",
                    }
                    for j, other in shown
                ],
            }
            for i, name in shown
        ],
    }


def _mistakes(results: Results, most: int = 20) -> list[dict[str, str]]:
    if not results.action:
        return []
    wrong = [p for p in results.action[-1].predictions if p.true != p.predicted]
    return [
        {
            "sequence": p.sequence,
            "true": _words(results.classes[p.true]),
            "predicted": _words(results.classes[p.predicted]),
            "probability": f"{p.probability:.0%}",
        }
        for p in sorted(wrong, key=lambda p: -p.probability)[:most]
    ]


def _card(sample: Sample, image: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    encoded = base64.b64encode(_encoded(image, ".jpg")).decode()
    predicted = "" if sample.predicted is None else _words(classes[sample.predicted])
    return {
        "image": f"data:image/jpeg;base64,{encoded}",
        "alt": f"frame of sequence {sample.sequence} with true and predicted joints",
        "sequence": sample.sequence,
        "action": "" if sample.action is None else _words(classes[sample.action]),
        "predicted": predicted,
        "probability": "" if sample.probability is None else f"{sample.probability:.0%}",
        "right": sample.action == sample.predicted,
    }


def _labelled_joints(results: Results) -> np.ndarray:
    """Indices of the joints to draw: those labelled in some frame, all where no frame has labels.

    A network trained on data without, say, a pelvis predicts one all the same, anywhere.
    """
    labels = [sample.valid for sample in results.samples if sample.valid is not None]
    labelled = np.any(labels, axis=0) if labels else np.zeros(len(results.skeleton), bool)
    return np.flatnonzero(labelled if labelled.any() else ~labelled)


def _picture(sample: Sample, skeleton: Skeleton, drawn: np.ndarray, side: int = 420) -> np.ndarray:
    """The frame enlarged to about `side` pixels, the truth in white below the prediction coloured by side."""
    skeleton = Skeleton(skeleton.name, tuple(skeleton.joints[j] for j in drawn))
    height, width = sample.frame.shape[:2]
    scale = max(1, round(side / max(height, width)))
    image = cv2.resize(sample.frame, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    size = np.array([width, height]) * scale
    if sample.true is not None and sample.valid is not None:
        true = np.where(sample.valid[:, None], sample.true * size, np.nan)
        image = _draw_truth(image, true[drawn], skeleton)
    if sample.pred is not None:
        confidence = None if sample.confidence is None else sample.confidence[drawn]
        image = viz.draw_skeleton(image, sample.pred[drawn] * size, skeleton, confidence)
    return image


def _draw_truth(image: np.ndarray, pose: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Thin lines of one colour on a dark edge, and rings, so that truth and prediction are told apart."""
    image = image.copy()
    at = {j: np.clip(p, -1e4, 1e4).astype(int).tolist() for j, p in enumerate(pose) if np.isfinite(p).all()}
    thick = max(1, round(max(image.shape[:2]) / 220))
    for colour, wider in ((viz.OUTLINE, 2), (TRUTH, 0)):
        for a, b in skeleton.limbs:
            if a in at and b in at:
                cv2.line(image, at[a], at[b], colour, thick + wider, cv2.LINE_AA)
        for point in at.values():
            cv2.circle(image, point, 3 * thick, colour, thick + wider, cv2.LINE_AA)
    return image


def _encoded(image: np.ndarray, suffix: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 88] if suffix == ".jpg" else []
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
