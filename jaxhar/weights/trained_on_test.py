import pytest

from jaxhar.host.errors import Problem
from jaxhar.weights import trained_on


def test_files_are_known_by_their_content(tmp_path):
    paths = [tmp_path / f"{n}.mp4" for n in range(6)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes([n]) * 10)
    (tmp_path / "net").mkdir()
    assert trained_on.sentence(tmp_path / "net", paths) is None
    trained_on.write(tmp_path / "net", paths[:5])
    assert trained_on.sentence(tmp_path / "net", paths[5:]) is None
    copy = tmp_path / "copy.mov"
    copy.write_bytes(paths[2].read_bytes())
    said = "the network was trained on copy.mov: what it says of them does not tell how good it is"
    assert trained_on.sentence(tmp_path / "net", [copy, paths[5]]) == said
    assert trained_on.sentence(tmp_path / "net" / "weights.safetensors", [copy]) == said
    assert "on 0.mp4, 1.mp4, 2.mp4 and 2 more" in trained_on.sentence(tmp_path / "net", paths)
    (tmp_path / "net" / trained_on.FILE).write_text("[]")
    with pytest.raises(Problem, match="training_files.json is damaged"):
        trained_on.sentence(tmp_path / "net", paths)
