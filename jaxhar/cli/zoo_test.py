"""The list of networks: true numbers, in the width of the tables."""

import dataclasses
import io

import pytest
from rich.console import Console

from jaxhar import zoo
from jaxhar.cli import main as cli
from jaxhar.cli import zoo as catalogue


@pytest.mark.parametrize(
    "name",
    [
        name if name == "skeleton-transformer-ntu" else pytest.param(name, marks=pytest.mark.slow)
        for name in zoo.names()
    ],
)
def test_the_sizes_are_those_of_the_networks(name):
    entry = zoo.entry(name)
    assert entry.size == catalogue.counted(entry.config)


def test_the_tables_fit_their_width_without_cutting_words():
    entries = {name: zoo.entry(name) for name in zoo.names()}
    several = dataclasses.replace(entries["reception-penn"], release="https://files.example/" + "x" * 60, md5="")
    console = Console(width=catalogue.WIDTH, record=True, file=io.StringIO())
    for table in catalogue._tables(entries | {"reception-penn": several}):
        console.print(table)
    text = console.export_text()
    assert all(len(line) <= catalogue.WIDTH for line in text.splitlines())
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
