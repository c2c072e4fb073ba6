"""What Tab does in the shells: the real ones source the scripts, and complete."""
import json
import os
import subprocess

import pytest

from conftest import PLAIN_ENV, TURNOUT

# What a shell says when it is asked for the completions of $LINE. bash has its words split as its own
# line editor would; zsh has a terminal of its own, in which the key is pressed; fish is simply asked.
BASH = r"""
source <(turnout completion bash)
complete -p turnout >/dev/null
read -ra COMP_WORDS <<<"$LINE"
case $LINE in *' ') COMP_WORDS+=('') ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE=$LINE; COMP_POINT=${#LINE}
compopt() { local IFS=" "; echo "compopt $*"; }
_turnout turnout
printf '%s\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
zmodload zsh/zpty
cat >$HOME/inner.zsh <<'END'
PROMPT=
autoload -U compinit; compinit -u -D
source <(turnout completion zsh)
compadd() {  # what is found is told
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
    local -a found
    builtin compadd -A found "$@"
    (( $#found )) && print -rl -- "" "match "${^found}
    builtin compadd "$@"
}
over() { print -r -- $'\nover'; exit }
comppostfuncs=(over)
bindkey '^I' complete-word
print -r -- rea''dy
END
zpty inner zsh -f -i
zpty -w inner "source $HOME/inner.zsh"
zpty -r inner part '*ready*'
zpty -n -w inner "$LINE"$'\t'
zpty -r inner part '*over*'
print -r -- "$part"
"""
FISH = r"""
turnout completion fish | source
complete -C "$LINE"
"""


@pytest.fixture
def offered(server, cluster, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "turnout").symlink_to(TURNOUT)
    work = tmp_path / "work"
    (work / "a-folder").mkdir(parents=True)
    (work / "a-job.yml").write_text("command: ls\n")

    def ask(shell, line, data=server.data):
        variables = {**PLAIN_ENV, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TURNOUT_DATA": str(data), "LINE": line, "HOME": str(tmp_path), "TERM": "dumb"}
        program = {"bash": ["bash", "--norc", "-c", BASH], "zsh": ["zsh", "-f", "-c", ZSH], "fish": ["fish", "--no-config", "-c", FISH]}[shell]
        done = subprocess.run(program, cwd=work, env=variables, capture_output=True, text=True, timeout=60)
        lines = done.stdout.replace("\r", "").splitlines()
        if shell == "zsh":
            lines = [text.removeprefix("match ") for text in lines if text.startswith("match ")]
        return {text.split("\t")[0] for text in lines if text}, done

    return ask


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_completes(offered, server, cluster, shell):
    name = json.loads(server.turnout("job", "create", "-f", "-", input="command: sleep 60\nenvironment: {image: x}\ncompute: cpu-cluster\nexperiment_name: tabs\n").stdout)["name"]

    def of(line):
        words, done = offered(shell, line)
        return words or {done.stdout + done.stderr}

    assert of("turnout jo") == {"job"}
    assert {"cancel", "create", "explain"} <= of("turnout job ")
    assert of("turnout job ca") == {"cancel"}
    assert of("turnout job cancel --exp") == {"--experiment-name"}
    assert of("turnout job list --status Com") == {"Completed"}
    assert of("turnout job list --compute cpu") == {"cpu-cluster"}
    assert name in of("turnout job cancel ")
    assert name in of(f"turnout job show {name[:8]}")
    server.turnout("job", "cancel", name)
    assert name not in of("turnout job cancel ") and name in of("turnout job delete ")
    if shell == "bash":  # its line editor does it
        assert of("turnout job create ") == {"compopt -o default -o bashdefault"}
        assert of("turnout backup a-") == {"a-folder", "compopt -o filenames"}
    else:
        assert any("a-job.yml" in word for word in of("turnout job create a-"))


def test_no_server_costs_nothing(offered, tmp_path):
    words, done = offered("bash", "turnout job cancel ", data=tmp_path / "nothing")
    assert words == set() and done.stderr == ""


def test_a_silent_server_is_not_waited_for(offered, server, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        data = tmp_path / "silent"
        data.mkdir()
        settings = json.loads((server.data / "client.json").read_text())
        settings.pop("folder_identity", None)
        settings["url"] = f"https://127.0.0.1:{silent.getsockname()[1]}"
        (data / "client.json").write_text(json.dumps(settings))
        words, done = offered("bash", "turnout job cancel ", data=data)
        silent.setblocking(False)
        silent.accept()[0].close()  # it was asked
        assert words == set() and done.stderr == ""


def test_the_manual_page_renders_without_a_warning(server, tmp_path):
    page = tmp_path / "turnout.1"
    server.turnout("docs", "--man", "-f", page)
    done = subprocess.run(["man", "--warnings", "-l", str(page)], capture_output=True, text=True, env={"PATH": os.environ["PATH"], "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0 and done.stderr == ""
    for words in ("turnout job cancel [NAME...]", "--experiment-name", "EXIT STATUS", "141", "turnout job create job.yml --stream"):
        assert words in done.stdout, words
