"""How far a prediction is: a function that is called after every frame, and bars in the terminal."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
#: Called with what is done (e.g. "predicting"), the number of frames done, and that of all frames (None if unknown).
Progress = Callable[[str, int, int | None], None]


def counted(items: Iterable[Item], progress: Progress | None, what: str, total: int | None) -> Iterator[Item]:
    """The same items; `progress` is called after each one, and at the end with the true number."""
    done = 0
    for item in items:
        yield item
        done += 1
        if progress is not None:
            progress(what, done, total)
    if progress is not None and done != total:
        progress(what, done, done)


class Bars:
    """A `Progress` that shows a bar for each thing that is done."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if self._bar is None or what != self._what:
            self.close()
            self._bar, self._what = tqdm(desc=what, total=total, unit="frame", dynamic_ncols=True), what
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Ends the bar that is shown."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
