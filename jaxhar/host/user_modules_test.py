"""`--import MODULE` before and after the command, and what is wrong with a module in one sentence."""

import sys

import pytest

from jaxhar import zoo
from jaxhar.cli import main as cli
from jaxhar.host import user_modules
from jaxhar.host.errors import Usage

MODULE = """
import dataclasses
from jaxhar import zoo
from jaxhar.core.family import Entry, Family
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.models.reception.zoo import build

class Mine(ReceptionConfig):
    pass

zoo.register(Family("mine", Mine, build, {"mine-small": Entry(Mine(**ReceptionConfig.TINY), published="none yet")}))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with modules of a user; what they register is forgotten again."""
    for name, text in {"my_net": MODULE, "bad_net": "1 / 0", "pkg/__init__": "", "pkg/net": MODULE}.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [word for word in sys.path if word])
    monkeypatch.setattr(zoo, "FAMILIES", list(zoo.FAMILIES))
    for name in ("my_net", "bad_net", "pkg", "pkg.net"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    "words", [("--import", "my_net", "zoo", "mine-small"), ("zoo", "mine-small", "--import=pkg.net")]
)
def test_a_network_of_ones_own_is_in_the_zoo(words, capsys):
    assert cli.main(["zoo", "mine-small"]) == 2
    assert "no network is named" in capsys.readouterr().err
    assert cli.main(list(words)) == 0
    said = capsys.readouterr().out
    assert "none yet" in said and "64 x 64" in said


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--import", "my_nets", "zoo"), 2, "--import my_nets: there is no such module"),
        (("--import", "no.such", "zoo"), 2, "--import no.such: there is no such module"),
        (("zoo", "--import", "my_net.py"), 2, "give its name, my_net"),
        (("--import", "bad_net", "zoo"), 1, "--import bad_net: it cannot be imported: ZeroDivisionError"),
        (("zoo", "--import"), 2, "--import has no module"),
    ],
)
def test_what_is_wrong_is_one_sentence(words, code, sentence, capsys):
    assert cli.main(list(words)) == code
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1, error


def test_the_option_is_taken_out_wherever_it_stands():
    words = ["--import", "a", "--x", "1", "--import=b.c", "y"]
    assert user_modules.take_option(words) == (["--x", "1", "y"], ["a", "b.c"])
    with pytest.raises(Usage):
        user_modules.take_option(["--import", "--x"])
