import pytest

from jaxhar.host import files
from jaxhar.host.errors import Problem


def test_atomic_leaves_all_or_nothing(tmp_path):
    with files.atomic(tmp_path / "x.txt") as part:
        part.write_text("done")
        assert not (tmp_path / "x.txt").exists()
    assert (tmp_path / "x.txt").read_text() == "done"
    with pytest.raises(KeyError), files.atomic(tmp_path / "y.txt") as part:
        part.write_text("half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_processes_of_one_number_on_two_machines_write_to_different_places(tmp_path, monkeypatch):
    with files.atomic(tmp_path / "x") as here:
        monkeypatch.setattr("socket.gethostname", lambda: "another")
        with files.atomic(tmp_path / "x") as there:
            assert here != there
            here.write_text("here")
            there.write_text("there")
    assert (tmp_path / "x").read_text() == "here"


@pytest.mark.parametrize("text", ["{", "[" * 100000 + "]" * 100000])
def test_what_is_not_json_is_told(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(Problem, match=r"the list .*x.json is not JSON \(.*\); restore it"):
        files.read_json(tmp_path / "x.json", "list")
