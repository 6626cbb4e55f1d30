import pytest

from jaxhar.host import files


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
