"""People who log in by an identity provider: a real one, on terminals and in a browser that follows what pages say;
and browsers that are logged in by a link."""
import fcntl
import hashlib
import html.parser
import json
import os
import pty
import re
import shutil
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest
import requests

from conftest import PLAIN_ENV, TURNOUT, on_terminal
from hosts import free_port

HERE = Path(__file__).parent / "oidc"
SECRET = "a secret of the test, longer than it has to be"


def installed():
    """The npm packages of the lock file, installed once, outside of the tree."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.fail("this test needs Node.js with npm, which runs the OpenID provider")
    lock = (HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnout-tests"
    folder = cache / f"oidc-provider-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder / name)
            done = subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=280)
            if done.returncode != 0:
                pytest.fail(f"npm cannot install the OpenID provider of {HERE}/package-lock.json:\n{done.stdout}{done.stderr}")
            (folder / "installed").write_text("")
    return node, folder


class Provider:
    def __init__(self, redirect):
        node, folder = installed()
        port = free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([node, HERE / "provider.mjs", folder, str(port), redirect], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.strip() == "ready":
                break
        else:
            pytest.fail("the OpenID provider does not start:\n" + "".join(lines))
        # What it says further is nobody's.
        subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)

    def groups(self, user, *groups):
        self.tell("groups", [("user", user), *(("group", group) for group in groups)])

    def tell(self, what, values=()):
        assert requests.post(f"{self.issuer}/test/{what}", params=list(values), timeout=30).text == "done"

    def stop(self):
        self.process.kill()
        self.process.wait(30)


class Forms(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.refresh = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "form":
            self.found.append((values.get("action", ""), {}))
        if tag == "input" and self.found and values.get("name"):
            self.found[-1][1][values["name"]] = values.get("value", "")
        if tag == "meta" and values.get("http-equiv") == "refresh":
            self.refresh = values["content"].split("url=", 1)[1]


class Browser:
    """Follows redirects, fills forms in as a person would, keeps cookies."""

    def __init__(self, server, user=""):
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(server.data / "ca.pem")
        self.user = user
        self.at = None

    def get(self, url):
        self.at = self.session.get(url, headers={"Accept": "text/html"}, timeout=60)
        return self.at

    def submit(self):
        action, fields = Forms(self.at.text).found[0]
        for name, value in (("login", self.user), ("password", "any")):
            if name in fields:
                fields[name] = value
        url = urllib.parse.urljoin(self.at.url, action or self.at.url)
        origin = "/".join(url.split("/")[:3])
        self.at = self.session.post(url, data=fields, headers={"Origin": origin, "Accept": "text/html"}, timeout=60)
        return self.at

    def log_in_at(self, provider):
        """Through all pages of the provider, until it has no more to ask."""
        for _ in range(8):
            if not self.at.url.startswith(provider.issuer) or not Forms(self.at.text).found:
                return self.at
            self.submit()
        pytest.fail(f"the provider asks for ever: {self.at.url}\n{self.at.text}")

    def cookie(self, name):
        return next((cookie for cookie in self.session.cookies if cookie.name == name), None)


@pytest.fixture(scope="module")
def oidc(module_server):
    """A server and its identity provider."""
    server = module_server
    provider = Provider(server.status["url"] + "/oidc/callback")
    server.provider = provider
    configure(server)
    yield server
    provider.stop()


def configure(server, client="turnout", **more):
    (server.data / "oidc.secret").touch(mode=0o600)
    (server.data / "oidc.secret").write_text(SECRET + "\n")
    lines = {
        "issuer": server.provider.issuer, "client_id": client, "client_secret_file": "oidc.secret", "scopes": ["openid", "profile", "groups"],
        "roles": [{"group": "lab", "role": "AzureML Data Scientist", "workspace": "default"}, {"group": "admins", "role": "Owner", "server": True}],
        **more,
    }
    (server.data / "oidc.yaml").write_text(json.dumps(lines))


class Terminal:
    """`turnout login` on a machine of its own: at a real terminal, or told to use the code."""

    def __init__(self, server, home, *options):
        self.env = {**PLAIN_ENV, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
        self.env.pop("TURNOUT_DATA", None)
        leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [TURNOUT, "login", server.status["url"], *options, "--ca-file", server.data / "ca.pem"],
            stdin=subprocess.DEVNULL if options else follower, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env,
        )
        os.close(follower)
        self.leader = leader  # open as long as the command runs
        self.said = ""

    def address(self):
        while True:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line
            if found := re.search(r"(http\S+user_code=\S+)", line):
                return found[1]

    def end(self):
        self.said += self.process.communicate(timeout=120)[0]
        os.close(self.leader)
        return self.process.returncode

    def turnout(self, *arguments):
        return subprocess.run([TURNOUT, *arguments], capture_output=True, text=True, env=self.env, timeout=60)


def log_in(server, user):
    browser = Browser(server, user)
    browser.get(server.status["url"] + "/login/oidc")
    return browser, browser.log_in_at(server.provider)


def me(server, browser):
    reply = browser.session.get(server.status["url"] + "/turnout/me", timeout=60)
    return reply.json() if reply.status_code == 200 else None


def test_the_settings_are_checked(oidc):
    told = oidc.turnout("oidc", "check", "-o", "json")
    found = json.loads(told.stdout)
    assert {key["algorithm"] for key in found["provider"]["keys"]} == {"RS256", "ES256"}, told.stdout
    assert found["redirect"] == oidc.status["url"] + "/oidc/callback"
    code, shown = on_terminal(oidc, "oidc", "check")
    assert code == 0 and "answers, with 2 keys" in shown and "lab: AzureML Data Scientist on workspace default" in shown, shown
    good = (oidc.data / "oidc.yaml").read_text()
    for wrong, expected in (
        (good.replace('"lab"', '"lab", "compute": "c"'), "expected one of group, role, workspace"),
        (good.replace("Data Scientist", "Data Scientst"), "there is no role"),
        (good.replace(oidc.provider.issuer, oidc.provider.issuer + "/x"), "has no description"),
        (good.replace(oidc.provider.issuer, "http://login.example"), "expected an address that begins with https://"),
    ):
        (oidc.data / "oidc.yaml").write_text(wrong)
        refused = oidc.turnout("oidc", "check", check=False)
        assert refused.returncode != 0 and expected in refused.stderr, refused.stderr
    (oidc.data / "oidc.yaml").write_text(good)
    (oidc.data / "oidc.secret").chmod(0o644)
    refused = oidc.turnout("oidc", "check", check=False)
    assert "others can read it" in refused.stderr, refused.stderr
    (oidc.data / "oidc.secret").chmod(0o600)
    assert SECRET not in oidc.turnout("oidc", "check", "-o", "json").stdout


@pytest.mark.parametrize("client, options", [("turnout", ["--use-device-code"]), ("turnout-es", [])])
def test_a_terminal_gets_a_token(oidc, tmp_path, client, options):
    configure(oidc, client)
    oidc.provider.groups("ann", "lab")
    terminal = Terminal(oidc, tmp_path, *options)
    browser = Browser(oidc, "ann")
    browser.get(terminal.address())
    browser.log_in_at(oidc.provider)
    assert terminal.end() == 0, terminal.said + browser.at.text
    assert "logged in to" in terminal.said and "as ann" in terminal.said, terminal.said
    key = (tmp_path / "config/turnout/api.key").read_text().strip()
    assert key.startswith("tko_") and key not in terminal.said
    who = requests.get(oidc.status["plain_url"] + "/turnout/me", headers={"Authorization": f"Bearer {key}"}, timeout=60).json()
    assert who["name"] == "ann" and [role["role"] for role in who["roles"]] == ["AzureML Data Scientist"], who
    assert terminal.turnout("job", "list").returncode == 0
    # What the role says, and nothing more.
    refused = terminal.turnout("user", "list")
    assert refused.returncode != 0 and "does not have authorization" in refused.stderr, refused


def test_a_terminal_where_it_is_refused(oidc, tmp_path):
    configure(oidc)
    oidc.provider.groups("mallory", "others")
    terminal = Terminal(oidc, tmp_path, "--use-device-code")
    browser = Browser(oidc, "mallory")
    browser.get(terminal.address())
    browser.log_in_at(oidc.provider)
    assert terminal.end() != 0
    assert "has no role on this server" in terminal.said, terminal.said
    assert not (tmp_path / "config/turnout/api.key").exists()
    assert "mallory" not in oidc.turnout("user", "list").stdout


def test_a_browser_is_logged_in_and_out(oidc):
    configure(oidc)
    oidc.provider.groups("bob", "lab", "admins")
    browser, page = log_in(oidc, "bob")
    assert page.status_code == 200 and Forms(page.text).refresh == "/", page.text
    cookie = browser.cookie("__Host-turnout-session")
    assert cookie.secure and cookie.path == "/" and cookie.has_nonstandard_attr("HttpOnly")
    assert cookie._rest.get("SameSite") == "Strict"
    who = me(oidc, browser)
    assert who["name"] == "bob" and {role["role"] for role in who["roles"]} == {"Owner", "AzureML Data Scientist"}, who
    # A new login looks at the groups anew, and that holds in all sessions.
    oidc.provider.groups("bob", "lab")
    log_in(oidc, "bob")
    assert {role["role"] for role in me(oidc, browser)["roles"]} == {"AzureML Data Scientist"}
    # Another site's page gets nothing with the cookie.
    url = oidc.status["url"] + "/logout"
    assert browser.session.post(url, headers={"Origin": "https://evil.example"}, timeout=60).status_code == 403
    assert browser.session.post(url, timeout=60).status_code == 403
    assert browser.session.post(url, headers={"Origin": oidc.status["url"]}, timeout=60).status_code < 400
    assert me(oidc, browser) is None


def test_its_keys_are_rotated(oidc):
    configure(oidc)
    oidc.provider.groups("carl", "lab")
    assert log_in(oidc, "carl")[1].status_code == 200
    oidc.provider.tell("rotate")
    time.sleep(5.5)  # so long newer keys are not asked for, after those before
    browser, page = log_in(oidc, "carl")
    assert page.status_code == 200, page.text
    assert me(oidc, browser)["name"] == "carl"


def test_nobody_takes_a_local_users_place(oidc):
    configure(oidc)
    oidc.turnout("user", "add", "dora", "-o", "none")
    oidc.provider.groups("dora", "lab")
    _, page = log_in(oidc, "dora")
    assert page.status_code == 403 and "there is a user &#39;dora&#39; already" in page.text.replace("&apos;", "&#39;"), page.text
    oidc.turnout("user", "link", "dora", "--subject", "dora", "-o", "none")
    browser, page = log_in(oidc, "dora")
    assert me(oidc, browser)["name"] == "dora", page.text
    # Somebody else to whom the provider gives her name.
    oidc.provider.groups("dora#2", "lab")
    assert log_in(oidc, "dora#2")[1].status_code == 403
    # Who is disabled stays out, and is out at once.
    oidc.turnout("user", "disable", "dora", "-o", "none")
    assert me(oidc, browser) is None
    assert log_in(oidc, "dora")[1].status_code == 403


def test_a_link_logs_a_browser_in_once(oidc):
    link = oidc.turnout("login", "--browser").stdout.strip()
    assert link.startswith(oidc.status["plain_url"] + "/login/once?code="), link
    browser = Browser(oidc)
    assert "as admin" in browser.get(link).text
    assert Forms(browser.submit().text).refresh == "/"
    assert browser.session.get(oidc.status["plain_url"] + "/turnout/me", timeout=60).json()["name"] == "admin"
    assert browser.cookie("turnout-session").has_nonstandard_attr("HttpOnly")
    assert Browser(oidc).get(link).status_code == 403
    # Over TLS it is another cookie: what plain http has seen does not open that.
    assert browser.session.get(oidc.status["url"] + "/turnout/me", timeout=60).status_code == 401
    sessions = json.loads(oidc.turnout("session", "list", "-o", "json").stdout)
    mine = [one for one in sessions if one["user"] == "admin"]
    assert len(mine) == 1 and mine[0]["origin"] == oidc.status["plain_url"], sessions
    oidc.turnout("session", "remove", mine[0]["id"])
    assert browser.session.get(oidc.status["plain_url"] + "/turnout/me", timeout=60).status_code == 401


def test_up_shows_a_link_to_a_person_alone(oidc):
    code, shown = on_terminal(oidc, "up", "--detach", "--data", oidc.data)
    link = re.search(r"browser +(http://127\S+/login/once\?code=\S+)", shown)
    assert code == 0 and link, shown
    browser = Browser(oidc)
    browser.get(link[1])
    browser.submit()
    assert browser.session.get(oidc.status["plain_url"] + "/turnout/me", timeout=60).json()["name"] == "admin"
    # Where nobody looks, as in a log, there is none.
    assert "code=" not in oidc.turnout("up", "--detach", "--data", oidc.data).stdout
    assert "code=" not in oidc.log.read_text()


def test_who_logged_in_is_in_the_audit(oidc):
    configure(oidc)
    oidc.provider.groups("fay", "lab")
    assert log_in(oidc, "fay")[1].status_code == 200
    browser = Browser(oidc)
    browser.get(oidc.turnout("login", "--browser").stdout.strip())
    assert browser.submit().status_code == 200
    lines = [json.loads(line) for line in oidc.turnout("audit", "--action", "Turnout/sessions/login", "-o", "json").stdout.splitlines()]
    assert {"fay", "admin"} <= {line["user"] for line in lines}, lines
    everything = b"".join(path.read_bytes() for path in oidc.data.glob("turnout.db*")) + oidc.log.read_bytes()
    assert SECRET.encode() not in everything


def test_whoever_is_in_stays_in_without_server_or_provider(oidc):
    """The last one: the provider is gone afterwards."""
    configure(oidc)
    oidc.provider.groups("eve", "lab")
    browser, page = log_in(oidc, "eve")
    assert page.status_code == 200, page.text
    oidc.kill()
    oidc.start()
    assert me(oidc, browser)["name"] == "eve", "what was acknowledged is kept"
    oidc.provider.stop()
    refused = oidc.turnout("oidc", "check", check=False)
    assert refused.returncode != 0 and "the identity provider does not answer" in refused.stderr, refused.stderr
    page = Browser(oidc, "eve").get(oidc.status["url"] + "/login/oidc")
    assert page.status_code == 503 and "does not answer" in page.text
    assert me(oidc, browser)["name"] == "eve"
    assert oidc.turnout("login", "--browser").stdout.startswith("http://"), "the other way in"
