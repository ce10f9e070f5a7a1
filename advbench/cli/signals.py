"""Stop after the batch in flight on the first Ctrl-C or SIGTERM, at once on the second."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def listening() -> Iterator[Callable[[], int | None]]:
    """Note signals within the block instead of raising them; main thread only.

    Yields
    ------
    callable
        Returns the number of the signal that asked to stop, or None. Poll it between batches.

    Notes
    -----
    A thread listens: Python runs its own handlers only once the compiled program in flight returns,
    and the second signal must not wait for that.
    """
    received: list[int] = []
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def listen() -> None:
        while number := reader.recv(1):
            if number[0] not in STOPPING:
                continue
            received.append(number[0])
            if len(received) > 1:
                os._exit(128 + number[0])
            print(
                "advbench: stopping after this batch; press Ctrl-C again to quit at once", file=sys.stderr, flush=True
            )

    before = {number: signal.signal(number, lambda *_: None) for number in STOPPING}
    woken = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield lambda: received[0] if received else None
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        thread.join()
        reader.close()
