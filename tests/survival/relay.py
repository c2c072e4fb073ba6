"""The cable between the agents and the server: `relay.py LISTEN UPSTREAM`, both Unix sockets.

Commands come on stdin, a word a line: `open` carry, `refuse` cut every connection and let nobody
connect, `hole` carry nothing more and tell nobody, `reset` cut every connection once. Each is
answered by `ok`. It ends when stdin does.
"""
import os
import selectors
import socket
import sys

LISTEN, UPSTREAM = sys.argv[1], sys.argv[2]
PIECE = 256 << 10
FULL = 1 << 20  # bytes kept for a side that does not read

poll = selectors.DefaultSelector()


class Side:
    def __init__(self, link):
        self.link, self.other = link, None
        self.out = bytearray()
        self.ended = False  # it will say nothing more
        self.shut = False   # it was told that the other will say nothing more


pairs = set()
mode = "open"
listener = None


def watch(side):
    events = 0
    if mode != "hole":
        if not side.ended and len(side.other.out) < FULL:
            events |= selectors.EVENT_READ
        if side.out:
            events |= selectors.EVENT_WRITE
    try:
        known = poll.get_key(side.link).events
    except (KeyError, ValueError):
        known = 0
    if events == known:
        return
    if not known:
        poll.register(side.link, events, side)
    elif not events:
        poll.unregister(side.link)
    else:
        poll.modify(side.link, events, side)


def drop(side):
    pairs.discard(side)
    pairs.discard(side.other)
    for one in (side, side.other):
        try:
            poll.unregister(one.link)
        except (KeyError, ValueError):
            pass
        one.link.close()


def carry(side, events):
    try:
        if events & selectors.EVENT_READ:
            data = side.link.recv(PIECE)
            if data:
                side.other.out += data
            else:
                side.ended = True
        for one in (side, side.other):
            if one.out:
                sent = one.link.send(one.out)
                del one.out[:sent]
    except BlockingIOError:
        pass
    except OSError:
        return drop(side)
    try:
        for one in (side, side.other):
            if one.other.ended and not one.out and not one.shut:
                one.shut = True
                one.link.shutdown(socket.SHUT_WR)
    except OSError:
        return drop(side)
    if side.shut and side.other.shut:
        return drop(side)
    watch(side)
    watch(side.other)


def accept():
    try:
        near, _ = listener.accept()
    except OSError:
        return
    far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        far.connect(UPSTREAM)
    except OSError:
        near.close()
        far.close()
        return
    a, b = Side(near), Side(far)
    a.other, b.other = b, a
    for side in (a, b):
        side.link.setblocking(False)
        pairs.add(side)
    watch(a)
    watch(b)


def listen():
    global listener
    if listener:
        poll.unregister(listener)
        listener.close()
        listener = None
    try:
        os.unlink(LISTEN)
    except OSError:
        pass
    if mode != "refuse":
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(LISTEN)
        os.chmod(LISTEN, 0o600)
        listener.listen(512)
        listener.setblocking(False)
        poll.register(listener, selectors.EVENT_READ, None)


def command(word):
    global mode
    if word in ("refuse", "reset"):
        for side in list(pairs):
            if side in pairs:
                drop(side)
    if word != "reset":
        mode = word
        listen()
        for side in list(pairs):
            watch(side)
    print("ok", flush=True)


os.set_blocking(0, False)
poll.register(0, selectors.EVENT_READ, "commands")
typed = b""
while True:
    for key, events in poll.select(1.0):
        if key.data == "commands":
            try:
                data = os.read(0, 4096)
            except BlockingIOError:
                continue
            if not data:
                sys.exit(0)
            typed += data
            while b"\n" in typed:
                word, _, typed = typed.partition(b"\n")
                command(word.decode().strip())
        elif key.data is None:
            if key.fileobj is listener:  # a command of this round may have put another in its place
                accept()
        elif key.data in pairs:
            carry(key.data, events)
