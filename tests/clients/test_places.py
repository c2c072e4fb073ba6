"""Where data is: what a job made becomes a model or a data asset that clients can fetch, and what is
shown is the long form that they parse."""
import re

LONG = r"azureml://subscriptions/[^/]+/resourcegroups/[^/]+/workspaces/[^/]+/datastores/{}/paths/{}"


def test_what_a_run_logged_becomes_a_model_that_can_be_fetched(run, ml_client, tmp_path):
    from azure.ai.ml.entities import Model

    job = run("mkdir -p outputs/model && echo weights > outputs/model/m.txt")
    assert job.status == "Completed"
    for number, path in enumerate((f"runs:/{job.name}/outputs/model",
                                   f"azureml://jobs/{job.name}/outputs/artifacts/paths/outputs/model/")):
        made = ml_client.models.create_or_update(Model(name=f"from-run-{number}", path=path, type="custom_model"))
        assert re.fullmatch(LONG.format("workspaceartifactstore", f"ExperimentRun/dcid.{job.name}/outputs/model/?"), made.path), made.path
        ml_client.models.download(made.name, made.version, download_path=str(tmp_path / str(number)))
        assert [f.read_text() for f in (tmp_path / str(number)).rglob("m.txt")] == ["weights\n"]


def test_the_command_line_takes_a_runs_path(run, server, tmp_path):
    job = run("mkdir -p outputs/model && echo weights > outputs/model/m.txt")
    shown = server.turnout("model", "create", "-n", "by-hand", "-p", f"runs:/{job.name}/outputs/model", "--query", "path", "-o", "tsv").stdout
    assert re.fullmatch(LONG.format("workspaceartifactstore", f"ExperimentRun/dcid.{job.name}/outputs/model/?"), shown.strip()), shown
    lost = server.turnout("model", "create", "-n", "lost", "-p", "runs:/nobody/model", check=False)
    assert lost.returncode == 2 and "job 'nobody' does not exist" in lost.stderr


def test_data_is_shown_in_the_long_form(ml_client, tmp_path):
    from azure.ai.ml.entities import Data

    (tmp_path / "f.csv").write_text("a\n")
    made = ml_client.data.create_or_update(Data(name="long-form", path=str(tmp_path / "f.csv"), type="uri_file"))
    assert re.fullmatch(LONG.format("workspaceblobstore", "LocalUpload/.*/f.csv"), made.path), made.path


def test_an_output_may_be_the_root_of_a_datastore(run, ml_client, tmp_path):
    from azure.ai.ml import Input, Output

    root = "azureml://datastores/workspaceblobstore/paths/"
    job = run("echo at-the-root > ${{outputs.o}}/root-of-all.txt", outputs={"o": Output(type="uri_folder", path=root)})
    assert job.status == "Completed"
    read = run("cat ${{inputs.x}} > outputs/x.txt; grep at-the-root ${{inputs.x}}",
               inputs={"x": Input(type="uri_file", path=root + "root-of-all.txt")})
    assert read.status == "Completed"
