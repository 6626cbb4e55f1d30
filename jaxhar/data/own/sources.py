"""Which videos and images of a user's folder are of one source, and who is used for testing.

Clips that were cut from one video, or images of one video, are too similar to be used for training and for testing.
Where no persons are given, the names of the files tell the sources: by well-known forms of names, by the last number of
images, and by the last number of other videos, as in anna_1 and anna_2, unless most of a class would be of one source.
"""

import dataclasses
import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxhar.host.errors import Problem

#: One in this many people is used for testing.
_SHARE = 4
#: Well-known forms of the names of clips; the group is the source.
_FORMS = (
    r"(.+_g\d+)_c\d+",  # UCF101: v_Jump_g03_c02 is clip 2 of video 3
    r"(.+)_\d{6}_\d{6}",  # Kinetics: a video, first and last second
    r"(.+)_[fulh]_[cn]m_np\d_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+",  # HMDB51
    r"S\d{3}C\d{3}(P\d{3})R\d{3}A\d{3}(?:_rgb)?",  # NTU RGB+D: a person, whom several cameras see
)
#: Words for a part of a video, which may stand before its number: anna_take3, film1-c2.
_PARTS = "part|clip|take|segment|seg|cut|scene|shot|sample|rep|[a-z]"
#: Words before a number that tell no source.
_ANY = set(
    "img vid dsc dscf dscn mvi mov pxl gopr gh dji clip video movie take cut part rec sequence file film frame image "
    "photo picture".split()
)


@dataclass(frozen=True)
class Item:
    """One video or image of one person.

    Attributes:
      path: the file. label: name of its class. person: name of the person or source video, "" if it is not known yet.
      split: "train", "test", or "" if not given. box: (4,) pixels, or None for the whole image.
      where: its place, for messages. still: whether it is an image.
    """

    path: Path
    label: str
    person: str
    split: str
    box: tuple[float, ...] | None
    where: str
    still: bool


def divided(items: Sequence[Item], root: Path) -> tuple[list[Item], list[str], list[str]]:
    """The items with a person and a split each; then a note and a doubt on their sources, where there is one.

    Without given splits, people of every class are chosen for testing, always the same.

    Raises:
      Problem: a given person is in both given splits, or there is nobody for testing.
    """
    sources = _sources(items)
    given = {item.person for item in items if item.person}
    notes, doubts = [], []
    alone = [
        item.path.name
        for item, source in zip(items, sources, strict=True)
        if not (source or item.split or item.still) and re.search(r"\d\W*$", item.path.stem)
    ]
    if alone:
        notes.append(
            f"{len(alone)} videos, as {alone[0]}, count as a source each, because their names tell none; where several "
            "are of one person or cut from one video, name it in the column person of a CSV file"
        )
    # files of the same name in two classes are different; images of one video may be in several classes
    persons = [
        source or "/".join(filter(None, (item.split, item.label, item.path.stem)))
        for item, source in zip(items, sources, strict=True)
    ]
    sides: dict[str, set[str]] = defaultdict(set)
    for item, source in zip(items, sources, strict=True):
        sides[source].add(item.split)
    leaks = sorted(s for s in sides if s and {"train", "test"} <= sides[s] and (s in given or key(s) not in _ANY))
    for leak in leaks:
        if leak in given:
            item = next(item for item in reversed(items) if item.person == leak)
            other = ({"train", "test"} - {item.split}).pop()
            raise Problem(f"{item.where} puts {leak} into {item.split}, another line puts it into {other}")
    if leaks:
        doubts.append(
            f"{len(leaks)} source videos, as {leaks[0]}, have files in both given splits, so that the figures are "
            "too good; move the files of each to one side"
        )
    return _split([dataclasses.replace(i, person=p) for i, p in zip(items, persons, strict=True)], root), notes, doubts


def _sources(items: Sequence[Item]) -> list[str]:
    """The person or source of each file, given or by its name; "" where that tells none."""
    sources = [item.person or _by_form(item) for item in items]
    guesses = ["" if source else _before_number(item) for item, source in zip(items, sources, strict=True)]
    whole = Counter(item.label for item in items)
    shares = Counter((item.label, guess) for item, guess in zip(items, guesses, strict=True))
    only = len({guess for guess in guesses if guess}) == 1
    for i, (item, guess) in enumerate(zip(items, guesses, strict=True)):
        if guess and (not only if item.split else 2 * shares[item.label, guess] <= whole[item.label]):
            sources[i] = guess
    return sources


def _by_form(item: Item) -> str:
    frame = re.fullmatch(r"(.+)[-_. ]\d+", item.path.stem) if item.still else None
    name = frame[1] if frame else item.path.stem
    matches = (re.fullmatch(form, name, re.IGNORECASE) for form in _FORMS)
    return next((match[1] for match in matches if match), name if frame else "")


def _before_number(item: Item) -> str:
    """What stands before the last number of a name, if it may name a source."""
    match = re.fullmatch(rf"(.*?[^-_. (])[-_. (]+(?:{_PARTS})?[-_. ]?\d+\)?", item.path.stem, re.IGNORECASE)
    return "" if match is None or key(match[1]) in _ANY | {key(item.label)} else match[1]


def key(name: str) -> str:
    """A name without differences of case, blanks, hyphens, underscores and of the way in which accents are stored."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()


def _split(items: Sequence[Item], root: Path) -> list[Item]:
    splits = {item.person: item.split for item in items if item.split}
    seen: dict[str, set[str]] = defaultdict(set)
    for item in items:
        seen[item.label].add(item.person)
    for label in sorted(seen):
        persons = sorted(seen[label], key=lambda person: hashlib.sha256(person.encode()).digest())
        undecided = [person for person in persons if person not in splits]
        tests = sum(splits.get(person) == "test" for person in persons)
        wanted = max(1, round(len(persons) / _SHARE)) if len(persons) > 1 else 0
        for i, person in enumerate(undecided):
            splits[person] = "test" if i < wanted - tests else "train"
    found = [dataclasses.replace(item, split=item.split or splits[item.person]) for item in items]
    if not any(item.split == "test" for item in found):
        if all(item.split for item in items):
            raise Problem(f"all files of {root} are given the split train: give some of them test, or no splits at all")
        raise Problem(
            f"nobody in {root} can be used for testing: every class has one person or source video, as "
            f"{items[0].person}; name the person of each file in a CSV file, or give splits"
        )
    return found
