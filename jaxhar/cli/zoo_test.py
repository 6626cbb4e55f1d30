"""The list of networks: true numbers, a hundred columns."""

import dataclasses
import io
import math

import pytest
from rich.console import Console

from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.cli import zoo as catalogue
from jaxhar.zoo import multiply_adds


@pytest.mark.parametrize("name", catalogue.COUNTED)
def test_the_counts_are_those_of_the_networks(name):
    weights = sum(math.prod(shape) for shape in port.shapes(zoo.config(name)).values())
    assert catalogue.COUNTED[name] == (weights, multiply_adds(zoo.config(name)))


def test_a_network_that_is_not_in_the_table_is_counted(monkeypatch):
    known = catalogue.COUNTED.pop("reception-mpii")
    try:
        assert catalogue.counts("reception-mpii") == known
    finally:
        catalogue.COUNTED["reception-mpii"] = known


def test_the_tables_fit_a_hundred_columns_without_cutting_words():
    entries = {name: zoo.entry(name) for name in zoo.names()}
    several = dataclasses.replace(entries["reception-penn"], release="https://files.example/" + "x" * 60, md5="")
    console = Console(width=100, record=True, file=io.StringIO())
    for table in catalogue._tables(entries | {"reception-penn": several}):
        console.print(table)
    text = console.export_text()
    assert all(len(line) <= 100 for line in text.splitlines())
    for word in (
        *entries,
        "d6b85ba4b8a3fc9d05c8ad73f763d999",
        "v0.1/weights_PE_MPII_cvpr18_19-09-2017.h5",
        "none given",
    ):
        assert word in text, word
    assert "…" not in text


def test_the_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["zoo"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in zoo.names())
    assert cli.main(["zoo", "reception-penn"]) == 0
    said = capsys.readouterr().out
    for word in ("12,805,120", "96,483,003,904", "tennis_serve", "l_ankle", "f53f89257077616a79a6c1cd1702d50f", "98.6"):
        assert word in said, word
    assert cli.main(["zoo", "reception-coco"]) == 2
    assert "reception-mpii" in capsys.readouterr().err
