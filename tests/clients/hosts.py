"""Hosts for tests: real `sshd` processes on ports of this machine, each with a folder of its own."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import eventually, processes_with


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Host:
    def __init__(self, root, number):
        self.root, self.number = root, number
        self.folder = root / f"h{number}"
        self.folder.mkdir(mode=0o700)
        self.port = free_port()
        self.new_key()
        self.process = None
        self.start()

    @property
    def name(self):
        return f"{user()}@127.0.0.1:{self.port}"

    def new_key(self):
        make_key(self.root / f"host{self.number}")

    def start(self):
        config = self.root / f"host{self.number}.config"
        # SHLVL: else bash takes a command by SSH for a login, and reads what its user has set up.
        config.write_text(f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.root}/host{self.number}\nPidFile none\nUsePAM no\n"
                          "StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nSetEnv SHLVL=5\n"
                          f"AuthorizedKeysFile {self.root}/id.pub\n")
        with open(self.root / f"host{self.number}.log", "ab") as log:
            self.process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin"}, start_new_session=True)

        def listens():
            assert self.process.poll() is None, (self.root / f"host{self.number}.log").read_text()
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", self.port)) == 0

        eventually("sshd listens", listens, interval=0.02)

    def connections(self):
        """The processes of sshd that carry its connections."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def cut(self):
        """Its connections break; what runs on it goes on."""
        for pid in self.connections():
            os.kill(pid, signal.SIGKILL)

    def stop(self):
        self.cut()
        self.process.kill()
        self.process.wait(60)

    def nodes(self):
        """The folders of the nodes on it."""
        return sorted(self.folder.glob("*/nodes/*"))

    def processes(self):
        return processes_with(str(self.folder) + "/")


def user():
    return os.environ.get("USER", "root") if os.geteuid() else "root"


def make_key(path):
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60)


class Hosts:
    def __init__(self, count):
        if not os.access("/usr/sbin/sshd", os.X_OK):
            pytest.fail("there is no /usr/sbin/sshd: scripts/install-deps installs openssh-server")
        self.root = Path(tempfile.mkdtemp(prefix="turnout-ssh-"))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        make_key(self.root / "id")
        self.all = [Host(self.root, number) for number in range(count)]

    def pool(self, name="lab", more=""):
        """A pools.yaml with all of them in one pool."""
        text = f"pools:\n  {name}:\n    provider: ssh\n    settings:\n      user: {user()}\n      key: {self.root}/id\n{more}      hosts:\n"
        for host in self.all:
            text += f"        - {{address: 127.0.0.1, port: {host.port}, folder: {host.folder}}}\n"
        return text

    def end(self):
        for host in self.all:
            host.stop()
            for pid in host.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        shutil.rmtree(self.root, ignore_errors=True)
