import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxhar.host.errors import Problem, Usage
from jaxhar.training.experiment import Train
from jaxhar.training.history import FILE, History, mean, read
from jaxhar.training.loggers import TensorBoard


def test_rows_beyond_the_step_and_torn_ones_are_dropped(tmp_path):
    history = History(tmp_path, 0)
    for step in (1, 2, 3):
        history.add(step, {"loss": step / 3})
    history.sync()
    history.close()
    with open(tmp_path / FILE, "a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in read(tmp_path / FILE)] == [1, 2, 3]
    again = History(tmp_path, 2)
    again.add(3, {"loss": 0.1 + 0.2})
    again.close()
    lines = (tmp_path / FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 1 / 3},
        {"step": 2, "loss": 2 / 3},
        {"step": 3, "loss": 0.30000000000000004},
    ]


def test_mean_is_exact_whatever_the_order():
    rows = [{"x": 1e16}, {"x": 1.0}, {"x": -1e16}]
    assert mean(rows) == mean(rows[::-1]) == {"x": 1 / 3}


class Rows:
    """A logger of one's own."""

    def __init__(self):
        self.seen, self.closed = [], False

    def scalars(self, step, values):
        self.seen.append((step, values))

    def close(self):
        self.closed = True


def test_loggers_get_every_row_with_clock_times_and_are_closed(tmp_path):
    own, board = Rows(), TensorBoard(tmp_path, 0)
    history = History(tmp_path, 0, (own, board))
    history.add(1, {"loss": 0.5}, {"steps_per_second": 2.0})
    history.close()
    assert own.seen == [(1, {"loss": 0.5, "steps_per_second": 2.0})] and own.closed
    assert json.loads((tmp_path / FILE).read_text()) == {"step": 1, "loss": 0.5}
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def full_disk(monkeypatch):
    """Event files are on a disk without room."""
    monkeypatch.setattr("tensorboardX.record_writer.open_file", lambda path: open("/dev/full", "wb"))


@pytest.mark.parametrize("fault", ["full disk", "no folder", "closed file", "another error"])
def test_a_board_that_cannot_write_is_left_out_and_the_run_goes_on(tmp_path, monkeypatch, capsys, fault):
    board, own = TensorBoard(tmp_path, 0), Rows()
    if fault == "full disk":
        full_disk(monkeypatch)
    elif fault == "no folder":
        (tmp_path / "tensorboard").write_text("a file")
    history = History(tmp_path, 0, (board, own))
    for step in range(1, 200):
        if step == 20 and fault == "closed file":
            board._writer.close()
        if step == 20 and fault == "another error":
            monkeypatch.setattr(board._writer, "write", lambda data: 1 / 0)
        history.add(step, {f"metric{i}": 0.5 for i in range(20)})
    history.close()
    assert len(read(tmp_path / FILE)) == 199 == len(own.seen) and own.closed
    said = capsys.readouterr().err
    assert said.count("TensorBoard gets no more metrics") == 1 and str(tmp_path / FILE) in said


def test_a_board_is_read_back_by_the_step(tmp_path):
    """The records of a resumed run, with the mark by which TensorBoard hides later ones."""
    board = TensorBoard(tmp_path, 6)
    board.scalars(7, {"loss": 0.25, "clips/pose": 1.5})
    board.close()
    (path,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    version, start, *rows = events
    assert version.file_version == "brain.Event:2" and start.step == 7 and start.session_log.status == 1
    assert [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in rows] == [
        (7, "loss", 0.25),
        (7, "clips/pose", 1.5),
    ]


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb (100 MB) is of the extra [wandb], not of [dev]: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (0, 2):  # a run, and what goes on from its second step
        history = History(tmp_path, step, [make(tmp_path, step) for make in Train(log="wandb", loggers=()).outputs])
        history.add(step + 1, {"loss": 0.125})
        history.add(step + 2, {"loss": 0.375, "eval/pck@0.2": 0.5}, {"steps_per_second": 2.0})
        history.close()
    name = (tmp_path / "wandb" / "id").read_text()
    paths = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert [path.stem for path in paths] == [f"run-{name}"] * 2
    for record in map(Path.read_bytes, paths):
        assert tmp_path.name.encode() in record and b"jaxhar" in record
        assert all(word in record for word in (b"loss", b"0.125", b"eval/pck@0.2", b"steps_per_second"))


def test_loggers_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Problem, match=r"pip install 'jaxhar\[wandb\]'"):
        Train(log="wandb").outputs[-1](tmp_path, 0)
    with pytest.raises(Usage, match="train.log is 'wand'; it must be wandb, or empty"):
        Train(log="wand")
    assert Train().outputs == (TensorBoard,) and len(Train(log="wandb").outputs) == 2
