"""The relay: two of its programs joined by pipes, beside `cat` in a pipe between the same two ends."""
import os
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from harness import ROOT, median, quantile

PIECE = b"x" * (256 << 10)
AGENT = ROOT / "build" / "turnout-agent"


class Pair:
    """A door on one side that leads to a listening socket behind the other."""

    def __init__(self, folder):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "behind"))
        self.listener.listen()
        self.door = folder / "door"
        there, back = os.pipe(), os.pipe()
        sides = ((back[0], there[1], ["--allow", f"server=unix:{folder}/behind"]), (there[0], back[1], ["--socket", self.door]))
        self.sides = [subprocess.Popen([AGENT, "relay", "--stdio", *options], stdin=come, stdout=go, stderr=subprocess.DEVNULL)
                      for come, go, options in sides]
        for end in (*there, *back):
            os.close(end)
        while not self.door.exists():
            time.sleep(0.001)

    def connect(self, path=None):
        near = socket.socket(socket.AF_UNIX)
        near.connect(str(path or self.door))
        return near, self.listener.accept()[0]

    def cpu(self):
        ticks = 0
        for side in self.sides:
            fields = Path(f"/proc/{side.pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self):
        for side in self.sides:
            side.kill()
            side.wait()
        self.listener.close()


def rate(write, read, size):
    """Megabytes a second from write(piece) to read(), which gives how many bytes came."""
    def send():
        for _ in range(size // len(PIECE)):
            write(PIECE)

    sender = threading.Thread(target=send)
    begin, left = time.perf_counter(), size
    sender.start()
    while left > 0:
        left -= read()
    sender.join()
    return size / (time.perf_counter() - begin) / 1e6


def through_cat(size):
    buffer = bytearray(1 << 20)
    cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def write(piece):
        left = memoryview(piece)
        while left:
            left = left[cat.stdin.write(left):]

    found = rate(write, lambda: cat.stdout.readinto(buffer), size)
    cat.stdin.close()
    cat.wait()
    return found


def round_trips(near, far, count):
    def echo():
        for _ in range(count):
            far.sendall(far.recv(1))

    other = threading.Thread(target=echo)
    other.start()
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        near.sendall(b"x")
        near.recv(1)
        found.append((time.perf_counter() - begin) * 1e6)
    other.join()
    return found


def figure_relay(scale):
    size, count = (512 << 20) // scale.share // len(PIECE) * len(PIECE), 2000 // scale.share
    with tempfile.TemporaryDirectory(prefix="bench-relay-") as folder:
        pair = Pair(Path(folder))
        try:
            buffer, cats, ours, ratios, costs = bytearray(1 << 20), [through_cat(size)], [], [], []
            for _ in range(scale.rounds):
                near, far = pair.connect()
                before = pair.cpu()
                ours.append(rate(near.sendall, lambda: far.recv_into(buffer), size))
                costs.append((pair.cpu() - before) / size * 1e9)
                cats.append(through_cat(size))
                ratios.append(ours[-1] / ((cats[-2] + cats[-1]) / 2))
                near.close(), far.close()
            direct = round_trips(*pair.connect(Path(folder) / "behind"), count)
            relayed = round_trips(*pair.connect(), count)
        finally:
            pair.end()
    return {
        "name": f"relay over a pair of pipes: one channel, {size >> 20} MiB", "target": "",
        "value": f"{median(ours):,.0f} MB/s = {median(ratios):.2f} of `cat` (CPU {median(costs):.2f} s per GB, both sides); "
                 f"a round trip of one byte p50 {median(relayed):.0f} us, p99 {quantile(relayed, 0.99):.0f} us",
        "beside": f"`cat` in a pipe {median(cats):,.0f} MB/s; a round trip over a Unix socket p50 {median(direct):.0f} us",
        "met": None, "raw": {"mb_per_s": ours, "cat_mb_per_s": cats, "ratio": median(ratios), "cpu_s_per_gb": costs,
                             "round_trip_us": median(relayed), "direct_us": median(direct), "bytes": size},
    }
