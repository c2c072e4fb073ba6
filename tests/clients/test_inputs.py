"""Data into a job and out of it."""
import pytest

from conftest import files_under, log_of


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("x,y\n1,2\n")
    return path


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree" / "deep er").mkdir(parents=True)
    (tmp_path / "tree" / "a.txt").write_text("A")
    (tmp_path / "tree" / "deep er" / "b.txt").write_text("B")
    return tmp_path / "tree"


@pytest.mark.parametrize("mode", ["ro_mount", "download"])
def test_local_file(run, ml_client, csv, tmp_path, mode):
    from azure.ai.ml import Input

    job = run("cat ${{inputs.data}}", inputs={"data": Input(type="uri_file", path=str(csv), mode=mode)})
    assert job.status == "Completed" and "x,y\n1,2\n" in log_of(ml_client, job.name, tmp_path)


@pytest.mark.parametrize("mode", ["ro_mount", "download"])
def test_local_folder(run, ml_client, tree, tmp_path, mode):
    from azure.ai.ml import Input

    job = run('cat ${{inputs.data}}/a.txt "${{inputs.data}}/deep er/b.txt"', inputs={"data": Input(type="uri_folder", path=str(tree), mode=mode)})
    assert job.status == "Completed" and "AB" in log_of(ml_client, job.name, tmp_path)


def test_direct_mode_hands_over_the_uri(run, ml_client, csv, tmp_path):
    from azure.ai.ml import Input

    job = run("echo uri=${{inputs.data}}", inputs={"data": Input(type="uri_file", path=str(csv), mode="direct")})
    assert job.status == "Completed" and "data.csv" in log_of(ml_client, job.name, tmp_path)


def test_data_asset(run, ml_client, tree, tmp_path):
    from azure.ai.ml import Input
    from azure.ai.ml.entities import Data

    asset = ml_client.data.create_or_update(Data(name="letters", version="3", path=str(tree), type="uri_folder"))
    assert (asset.name, asset.version) == ("letters", "3")
    for reference in ("azureml:letters:3", "azureml:letters@latest"):
        job = run("cat ${{inputs.data}}/a.txt", inputs={"data": Input(type="uri_folder", path=reference)})
        assert job.status == "Completed" and "A" in log_of(ml_client, job.name, tmp_path)


def test_datastore_path(run, ml_client, csv, tmp_path):
    from azure.ai.ml import Input
    from azure.ai.ml.entities import Data

    path = ml_client.data.create_or_update(Data(name="for-path", version="1", path=str(csv), type="uri_file")).path
    assert path.startswith("azureml://")
    job = run("cat ${{inputs.data}}", inputs={"data": Input(type="uri_file", path=path)})
    assert job.status == "Completed" and "1,2" in log_of(ml_client, job.name, tmp_path)


def test_a_job_cannot_change_what_others_read(run, ml_client, tree, tmp_path):
    from azure.ai.ml import Input
    from azure.ai.ml.entities import Data

    ml_client.data.create_or_update(Data(name="shared-letters", version="1", path=str(tree), type="uri_folder"))
    data = {"data": Input(type="uri_folder", path="azureml:shared-letters:1")}
    run("echo CHANGED > ${{inputs.data}}/a.txt || true", inputs=data)
    job = run("cat ${{inputs.data}}/a.txt", inputs=data)
    log = log_of(ml_client, job.name, tmp_path)
    assert "CHANGED" not in log and "A" in log


def test_named_output_and_the_next_job(run, ml_client, tmp_path):
    from azure.ai.ml import Input, Output

    first = run("mkdir -p ${{outputs.out}}/sub && echo made > ${{outputs.out}}/sub/file.txt && echo one > ${{outputs.single}}",
                outputs={"out": Output(type="uri_folder"), "single": Output(type="uri_file")})
    assert first.status == "Completed"
    ml_client.jobs.download(first.name, output_name="out", download_path=tmp_path)
    assert [p.read_text() for p in tmp_path.rglob("file.txt")] == ["made\n"]

    second = run("cat ${{inputs.before}}/sub/file.txt",
                 inputs={"before": Input(type="uri_folder", path=f"azureml://jobs/{first.name}/outputs/out/paths/")})
    assert second.status == "Completed" and "made" in log_of(ml_client, second.name, tmp_path)


def test_output_to_a_chosen_path(run, ml_client, tmp_path):
    from azure.ai.ml import Input, Output

    target = "azureml://datastores/workspaceblobstore/paths/chosen/place/"
    assert run("echo placed > ${{outputs.out}}/p.txt", outputs={"out": Output(type="uri_folder", path=target)}).status == "Completed"
    job = run("cat ${{inputs.back}}/p.txt", inputs={"back": Input(type="uri_folder", path=target)})
    assert job.status == "Completed" and "placed" in log_of(ml_client, job.name, tmp_path)


def test_unchanged_folder_is_not_uploaded_again(run, ml_client, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.sh").write_text("echo version one\n")
    first = run("sh main.sh", code=str(tmp_path / "code"))
    second = run("sh main.sh", code=str(tmp_path / "code"))
    assert first.code == second.code
    (tmp_path / "code" / "main.sh").write_text("echo version two\n")
    third = run("sh main.sh", code=str(tmp_path / "code"))
    assert third.code != first.code and "version two" in log_of(ml_client, third.name, tmp_path)


def test_large_file_in_blocks(run, ml_client, tmp_path):
    from azure.ai.ml import Input

    big = tmp_path / "big.bin"
    with open(big, "wb") as file:
        for number in range(80):
            file.write(bytes([number]) * (1 << 20))
    import hashlib

    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    job = run("sha256sum ${{inputs.data}}", inputs={"data": Input(type="uri_file", path=str(big))})
    assert job.status == "Completed" and digest in log_of(ml_client, job.name, tmp_path)


def test_a_large_input_is_there_once(server, cluster, tmp_path, rest, ml_client):
    """On the machine of the server: uploaded in one go, never copied as root, and known again at once."""
    import os
    import re

    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(1 << 20) * 48)
    os.utime(large, (1, 1))
    file = tmp_path / "job.yml"
    file.write_text(
        f"type: command\ncompute: azureml:{cluster}\nenvironment:\n  image: debian:12\ncommand: >-\n"
        "  stat -c 'inode %i of %n' ${{inputs.data}} && sha256sum ${{inputs.data}} &&\n"
        "  if echo no 2>/dev/null >>${{inputs.data}}; then echo WRITTEN; fi; rm -f ${{inputs.data}} || true; test -f ${{inputs.data}}\n"
        f"inputs:\n  data:\n    type: uri_file\n    path: {large}\n")
    runs = [server.turnout("job", "create", "-f", file, "--stream", env={"XDG_CACHE_HOME": str(tmp_path)}) for _ in range(2)]
    assert "uploaded large.bin" in runs[0].stderr and "unchanged large.bin" in runs[1].stderr, runs
    found = [re.search(r"inode (\d+) of (.+)", run.stdout) for run in runs]
    assert found[0][1] == found[1][1] and not any("WRITTEN" in run.stdout for run in runs)
    import hashlib

    assert all(hashlib.sha256(large.read_bytes()).hexdigest() in run.stdout for run in runs)
    store = {path.stat().st_ino for path in files_under(server.data / "blobs")}
    if os.geteuid() == 0:
        assert int(found[0][1]) in store, "it is the very file of the store"
    # What was under way has no name left.
    place = "/store.blob.store.turnout/" + ml_client.datastores.get_default().container_name
    listed = rest.call("GET", f"{place}?restype=container&comp=list&prefix=LocalUpload%2F", api=None)
    assert listed.status_code == 200 and "large.bin" in listed.text and "uploading-" not in listed.text


def test_a_file_that_changes_while_it_is_uploaded_leaves_nothing(server, tmp_path, rest, ml_client):
    """It is sent under the name of its hash, and what arrives is something else."""
    import threading

    growing = tmp_path / "growing.bin"
    growing.write_bytes(b"x" * (16 << 20))
    over = threading.Event()

    def grow():
        with growing.open("ab", buffering=0) as file:
            while not over.wait(0.001):
                file.write(b"y")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        run = server.turnout("data", "create", "--name", "growing", "--path", growing, "--type", "uri_file", check=False)
    finally:
        over.set()
        writer.join()
    assert run.returncode != 0 and "while it is uploaded" in run.stderr, run
    place = "/store.blob.store.turnout/" + ml_client.datastores.get_default().container_name
    listed = rest.call("GET", f"{place}?restype=container&comp=list&prefix=LocalUpload%2F", api=None)
    assert listed.status_code == 200 and "growing.bin" not in listed.text, listed.text
