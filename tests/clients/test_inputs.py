"""Data into a job and out of it."""
import pytest

from conftest import log_of


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
