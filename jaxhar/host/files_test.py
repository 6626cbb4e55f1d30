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
