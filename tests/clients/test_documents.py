"""What the README and the pages tell a newcomer to type is typed here: every code block of a page, in
order, in one shell, in a folder that looks like a fresh clone, by a user whose home is empty.

By the word after the three backquotes a block is
  sh        commands, which all succeed; `sh exits=N` ends with that code; `sh not run: why` is not run
  text      what the commands before print: its lines are there, in this order; `…` is anything
  anything else: a file, named in its first line (`# job.yml`), which is written into the folder.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import PLAIN_ENV, ROOT, TURNOUT, processes_with

# In the order in which a newcomer meets them; what one leaves behind, the next finds.
PAGES = ["README.md"] + [str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("examples/*/README.md"))] + [
    "docs/distributed.md", "docs/environments.md", "docs/inputs-and-outputs.md", "docs/pipelines.md", "docs/automl.md", "docs/schedules.md", "docs/secrets.md", "docs/instances.md", "docs/endpoints.md", "docs/batch.md", "docs/portal.md", "docs/troubleshooting.md",
    "docs/azure.md", "docs/sharing.md", "docs/operating.md", "docs/ssh.md", "docs/containers.md", "docs/kubernetes.md", "docs/slurm.md", "docs/v1.md",
    "docs/security.md"]
GENERATED = {"docs/reference.md"}
NOT_RUN_AT_MOST = 8


def blocks_of(text):
    """(line, what stands after the backquotes, content) of each fenced block."""
    return [(text[: found.start()].count("\n") + 2, found[1].strip(), found[2])
            for found in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.M | re.S)]


def script_of(page, text):
    """The shell script of a page. Each block says when it begins, and the last one that the end was reached."""
    lines = ["set -eE -o pipefail", "trap 'echo \"::failed $? $BASH_COMMAND\"' ERR"]
    for line, kind, content in blocks_of(text):
        word, _, more = kind.partition(" ")
        lines.append(f"echo '::block {line}'")
        if word == "sh" and not more:
            lines.append(content)
        elif word == "sh" and (code := re.fullmatch(r"exits=(\d+)", more)):
            lines.append(f"set +eE; trap - ERR\n{content}\ncode=$?; set -eE; trap 'echo \"::failed $? $BASH_COMMAND\"' ERR\n"
                         f"[ $code = {code[1]} ] || {{ echo \"::failed $code instead of {code[1]}\"; exit 1; }}")
        elif word == "sh":
            assert more.startswith("not run: "), f"{page}:{line}: what is `{kind}`?"
        elif word != "text":
            name = re.match(r"(?:#|;|//|<!--) ?([\w./-]+)", content)
            assert name, f"{page}:{line}: a block of {word or 'no language'} begins with the name of its file"
            lines.append(f"mkdir -p \"$(dirname '{name[1]}')\" && cat >'{name[1]}' <<'END-OF-{line}'\n{content}END-OF-{line}")
    return "\n".join(lines) + "\necho '::end'\n"


def is_shown(wanted, printed):
    """Whether the lines of a block are among the lines printed, in order; the first that is not, or None."""
    at = 0
    for line in wanted.splitlines():
        if not line.strip() or line.strip() == "…":
            continue
        pattern = re.compile(".*".join(re.escape(part.strip()).replace("\\ ", r"\s+") for part in line.split("…")))
        while at < len(printed) and not pattern.search(printed[at]):
            at += 1
        if at == len(printed):
            return line
        at += 1
    return None


@pytest.fixture(scope="module")
def clone():
    """What git clone and ./quickstart leave: the tree, a build, .venv, a running server, the tutorial's cluster."""
    place = Path(tempfile.mkdtemp(prefix="turnout-"))
    home, tree = place / "home", place / "turnout"
    home.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "examples", "docs", "scripts", "python"],
                            cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    (tree / "build").mkdir()
    (tree / "build" / "turnout").symlink_to(Path(TURNOUT).resolve())
    (tree / ".venv").symlink_to(Path(sys.executable).parent.parent)
    env = {**{name: value for name, value in PLAIN_ENV.items() if not name.startswith("XDG_")}, "HOME": str(home), "SHELL": "/bin/bash"}

    def shell(script, timeout=280):
        return subprocess.run(["bash", "-c", script], cwd=tree, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)

    started = shell("build/turnout up --detach --listen 127.0.0.1:0 && mkdir -p examples/seed/.azureml && build/turnout config >examples/seed/.azureml/config.json"
                    " && cd examples/seed && ../../build/turnout exec -- ../../.venv/bin/python -B create_cluster.py")
    assert started.returncode == 0, started.stdout
    yield shell
    shell("build/turnout down --all --yes || build/turnout down --all")
    for pid in processes_with(str(place)):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of(page, clone):
    text = (ROOT / page).read_text()
    prologue = "" if page == "README.md" else "export PATH=$PWD/build:$PATH\n"
    done = clone(prologue + script_of(page, text))
    printed = {}
    for line in done.stdout.splitlines():
        if block := re.fullmatch(r"::block (\d+)", line):
            here = int(block[1])
            printed[here] = []
        elif printed:
            printed[here].append(line)
    assert done.stdout.rstrip().endswith("::end"), f"{page}, the block of line {max(printed, default=0)}:\n{done.stdout[-3000:]}"
    before = []
    for line, kind, content in blocks_of(text):
        if kind == "text":
            missing = is_shown(content, before)
            assert missing is None, f"{page}:{line}: {missing!r} is not among what was printed:\n" + "\n".join(before)
        elif kind.startswith("sh"):
            before = printed[line]


def test_every_page_is_among_them():
    pages = {"README.md", *(str(p.relative_to(ROOT)) for folder in ("docs", "examples") for p in (ROOT / folder).rglob("*.md"))}
    assert pages - GENERATED == set(PAGES)
    not_run = [f"{page}:{line}: {kind}" for page in PAGES for line, kind, _ in blocks_of((ROOT / page).read_text()) if "not run" in kind]
    assert len(not_run) <= NOT_RUN_AT_MOST, not_run


def test_links_lead_somewhere():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|src(?:set)?=\"([^\"]+)\"", text):
            target = target[0] or target[1]
            if "://" not in target:
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target} does not exist"


def test_the_rules_themselves(tmp_path):
    text = "a\n```sh\ntrue\n```\n```text\nhello …\n```\n```sh exits=3\n(exit 3)\n```\n```yaml\n# job.yml\na: 1\n```\n```sh not run: it installs\nfalse\n```\n"
    assert [kind for _, kind, _ in blocks_of(text)] == ["sh", "text", "sh exits=3", "yaml", "sh not run: it installs"]
    for wrong, right in (("(exit 3)", 0), ("true", 1), ("(exit 4)", 1)):
        done = subprocess.run(["bash", "-c", script_of("x", text.replace("(exit 3)", wrong))], capture_output=True, text=True, cwd=tmp_path)
        assert ("::end" in done.stdout) == (right == 0), (wrong, done)
    failing = subprocess.run(["bash", "-c", script_of("x", "```sh\nfalse\n```\n")], capture_output=True, text=True)
    assert "::failed 1 false" in failing.stdout and "::end" not in failing.stdout
    assert is_shown("a …\n…\nc\n", ["a b", "x", "c"]) is None and is_shown("c\na\n", ["a", "c"]) == "a"


def test_the_figures_are_those_of_the_results(tmp_path):
    def check(root):
        return subprocess.run([sys.executable, "-B", str(root / "bench" / "readme.py"), "--check"], capture_output=True, text=True)

    assert check(ROOT).returncode == 0, check(ROOT).stderr
    shutil.copytree(ROOT / "bench" / "results", tmp_path / "bench" / "results")
    shutil.copy(ROOT / "bench" / "readme.py", tmp_path / "bench")
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text().replace("jobs a second**", "jobs a minute**"))
    assert check(tmp_path).returncode == 1
