# SPDX-License-Identifier: Apache-2.0
"""A conversation that goes on while something happens to its host."""

import contextlib
import os
import socket
import threading
import time

from harness import eventually, exactly


class Talk(threading.Thread):
    """A connection that has a few random bytes echoed 50 times a second, and when the last ones came."""

    def __init__(self, host, address, port):
        super().__init__(daemon=True)
        self.sock = host.connect(address, port, timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.last = time.monotonic()
        self.rounds = 0
        self.enough = threading.Event()
        self.error = None
        self.start()

    def run(self):
        try:
            while not self.enough.wait(0.02):
                sent = os.urandom(64)
                self.sock.sendall(sent)
                if exactly(self.sock, len(sent)) != sent:
                    raise ValueError("other bytes than were sent")
                self.last = time.monotonic()
                self.rounds += 1
        except (OSError, ValueError) as error:
            self.error = error
        finally:
            self.sock.close()

    def goes_on(self, since=None, within=20):
        """Waits for a round that began after now; seconds after `since`."""
        since = since or time.monotonic()
        goal = self.rounds + 2
        eventually(lambda: self.error or self.rounds >= goal, within, "the conversation goes on")
        assert self.error is None
        return self.last - since

    def finish(self):
        self.enough.set()
        self.join(20)
        assert not self.is_alive() and self.error is None


@contextlib.contextmanager
def talks(*targets):
    all_talks = [Talk(*target) for target in targets]
    try:
        for talk in all_talks:
            talk.goes_on()
        yield all_talks
        for talk in all_talks:
            talk.finish()
    finally:
        for talk in all_talks:
            talk.enough.set()
