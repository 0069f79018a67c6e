"""What watches over leaks sees them."""

import socket
import subprocess
import sys
import threading

from tests.streams.held import Held


def test_what_is_held_more_than_before_is_told_and_gone_when_let_go() -> None:
    before = Held.now()
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with socket.socket() as held:
        more = Held.now().beyond(before)
        assert more["threads"] == [thread.native_id]
        assert more["processes"] == [child.pid]
        assert held.fileno() in {number for number, _ in more["descriptors"]}
    release.set()
    thread.join()
    child.communicate()
    assert not {"processes", "descriptors"} & set(Held.now().beyond(before))
