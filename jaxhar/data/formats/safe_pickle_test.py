import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from jaxhar.data.formats import safe_pickle
from jaxhar.host.errors import Problem


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_back(tmp_path, protocol):
    plain = {
        "image": "s_01/a.jpg",
        "joints": np.arange(51.0).reshape(17, 3)[:, ::-1],
        "order": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "names": np.array(["a", "bc"]),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "one": np.float64(2.5),
        "two": np.int32(7),
        "list": [1, 2.5, None, (True, b"\xff")],
        "ordered": OrderedDict(a=1),
    }
    plain["again"] = plain["joints"]
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(plain, protocol))
    found = safe_pickle.load(path)
    assert list(found) == list(plain) and found["list"] == plain["list"] and found["ordered"] == plain["ordered"]
    for key in ("joints", "order", "big", "names", "flags", "empty"):
        np.testing.assert_array_equal(np.asarray(found[key]), plain[key])
        assert found[key].dtype.newbyteorder("=") == plain[key].dtype.newbyteorder("=")
    assert found["again"] is found["joints"] and found["one"] == 2.5 and found["two"] == 7


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_of_pytorch_come_as_arrays(tmp_path, protocol):
    torch = pytest.importorskip("torch")
    grid = torch.arange(12.0).reshape(3, 4)
    plain = {
        "turned": grid.T,
        "part": grid[1:, 2:],
        "none": torch.zeros(0, 5),
        "one": torch.tensor(3),
        **{
            str(kind): torch.tensor([1, 0, 2]).to(kind)
            for kind in (torch.float64, torch.int64, torch.uint8, torch.bool)
        },
    }
    path = tmp_path / "tensors.pkl"
    path.write_bytes(pickle.dumps(plain, protocol))
    found = safe_pickle.load(path)
    for name, tensor in plain.items():
        assert isinstance(found[name], np.ndarray) and found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_a_tensor_that_lies_or_hides_code_is_a_sentence(tmp_path):
    torch = pytest.importorskip("torch")
    data = pickle.dumps(torch.arange(5), 4)
    path = tmp_path / "lie.pkl"
    path.write_bytes(data.replace(b"K\x05\x85", b"K\x06\x85"))
    with pytest.raises(Problem, match=r"a tensor of shape \(6,\) over 5 elements"):
        safe_pickle.load(path)
    path.write_bytes(data.replace(b"LongStorage", b"LongStorag3"))
    with pytest.raises(Problem, match="it contains torch.LongStorag3"):
        safe_pickle.load(path)
    path.write_bytes(data[:-40])
    with pytest.raises(Problem, match="lie.pkl"):
        safe_pickle.load(path)


def test_what_was_read_can_be_sent_to_another_process(tmp_path):
    path = tmp_path / "set.pkl"
    path.write_bytes(pickle.dumps({"x": np.arange(6.0).reshape(2, 3).T}))
    sent = pickle.loads(pickle.dumps(safe_pickle.load(path)))
    assert type(sent["x"]) is np.ndarray
    np.testing.assert_array_equal(sent["x"], np.arange(6.0).reshape(2, 3).T)


def test_a_pickle_of_python_2_is_read(tmp_path):
    """As Python 2 writes {"x": numpy.array([1.0, 2.0])}: module numpy.core, texts and numbers as byte strings."""
    text = (
        b"(dp0\nS'x'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
        b"(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n"
        b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00@'\np15\ntp16\nbs."
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(text)
    np.testing.assert_array_equal(safe_pickle.load(path)["x"], [1.0, 2.0])


class Evil:
    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.system, "touch ran"),
        Evil(eval, "open('ran', 'w')"),
        Evil(np.load, "ran", None, True),
        Evil(getattr, 1, "real"),
        np.array([Evil(os.system, "touch ran")], dtype=object),
        np.zeros(2, [("a", "f8")]),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_wants_to_run_code_is_a_sentence(tmp_path, monkeypatch, evil, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([{"image": "a.jpg", "joints": evil}], protocol))
    with pytest.raises(Problem, match="evil.pkl is not read: it contains .*only arrays") as caught:
        safe_pickle.load(path)
    assert not (tmp_path / "ran").exists() and "\n" not in str(caught.value)


def test_what_a_pickle_names_cannot_be_changed_by_it(tmp_path):
    """(None, {"_make": 1}) as the state of the thing named numpy.dtype."""
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x02cnumpy\ndtype\nN}X\x05\x00\x00\x00_makeK\x01s\x86b.")
    with pytest.raises(Problem, match="a modification of an allowed name"):
        safe_pickle.load(path)


def test_arrays_that_lie_about_their_size_are_refused(tmp_path):
    data = pickle.dumps(np.arange(5.0), 2)
    path = tmp_path / "lie.pkl"
    path.write_bytes(data.replace(b"K\x05\x85", b"K\x06\x85"))
    with pytest.raises(Problem, match=r"shape \(6,\) with 40 bytes"):
        safe_pickle.load(path)


@pytest.mark.parametrize("content", [b"", b"text, no pickle", pickle.dumps([np.arange(9.0)] * 3)[:-20]])
def test_what_is_no_pickle_is_a_sentence(tmp_path, content):
    (tmp_path / "cut.pkl").write_bytes(content)
    with pytest.raises(Problem, match="cut.pkl is not a complete pickle"):
        safe_pickle.load(tmp_path / "cut.pkl")
    with pytest.raises(Problem, match="cannot be read"):
        safe_pickle.load(tmp_path)
