import json

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
