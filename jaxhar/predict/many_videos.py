"""Work on each of many files: shared by several processes, continued after a stop, with a list of failures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tqdm import tqdm

from jaxhar.host.errors import Problem, Usage

Item = TypeVar("Item")
Result = TypeVar("Result")
#: Help of the option.
SHARD_HELP = "do part K of N of the videos; give each process another K; finished ones are skipped in any case"


@dataclass
class Told:
    """What was done: numbers of results that were made, and of those that were there; a sentence for each failure."""

    made: int = 0
    kept: int = 0
    broken: list[str] = field(default_factory=list)


def share(text: str | None) -> tuple[int, int]:
    """(K, N) from "K/N", the part of this process: the files number K, K + N, ... of the list, counted from 1.

    Raises:
      Usage: it is something else.
    """
    if text is None:
        return 1, 1
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise Usage(f"--shard {text!r} is not K/N: give e.g. 1/4, 2/4, 3/4 and 4/4 to four processes")
    return int(number), int(count)


def each(
    items: Iterable[Item], done: Callable[[Item], Result | None], work: Callable[[Item], Result]
) -> Iterator[tuple[Item, Result | Problem, bool]]:
    """Every item with its result, and whether it was there before: from `done`, or where that is None, from `work`.

    After a Problem, which is given in place of the result, the next item is taken.
    """
    for item in items:
        found: Result | Problem | None
        before = False
        try:
            found = done(item)
            before = found is not None
            found = work(item) if found is None else found
        except Problem as problem:
            found = problem
        yield item, found, before


def work_off(
    items: Sequence[Item],
    part: tuple[int, int],
    is_done: Callable[[Item], bool],
    work: Callable[[Item], None],
    progress: bool = True,
) -> Told:
    """Does `work` for every item of a part that is not done; a Problem is noted, and the next item is taken.

    Args:
      part: see `share`.
    """
    told = Told()

    def made(item: Item) -> bool:
        work(item)
        return True

    own = tqdm(items[part[0] - 1 :: part[1]], unit="video", disable=not progress, dynamic_ncols=True)
    for _, found, before in each(own, lambda item: is_done(item) or None, made):
        if isinstance(found, Usage):
            raise found
        if isinstance(found, Problem):
            told.broken.append(str(found))
        else:
            told.kept, told.made = told.kept + before, told.made + (not before)
    return told


def show(told: Told) -> None:
    """Prints the numbers, and a line for each video that is broken."""
    print(f"videos: {told.made} done now, {told.kept} before, {len(told.broken)} left out")
    for sentence in told.broken:
        print(f"left out: {sentence}")
