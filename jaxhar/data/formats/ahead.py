"""Reads a stream of items ahead of its consumer, in a thread."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the same items, read by a thread that runs at most `depth` items ahead of the consumer.

    An error in `items` is raised here; closing this generator stops the thread and closes `items`.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[bool, Any]) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(entry, timeout=0.05)
                return True
        return False

    def work() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                if not put((False, item)):
                    break
        except BaseException as error:
            end = error
        finally:
            getattr(items, "close", lambda: None)()
            put((True, end))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            last, item = ready.get()
            if not last:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stop.set()
        thread.join()
