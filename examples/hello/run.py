"""The same job as job.yml, by the azure-ai-ml SDK."""
from pathlib import Path

from azure.ai.ml import MLClient, command
from azure.ai.ml.entities import Environment
from azure.identity import DefaultAzureCredential

here = Path(__file__).resolve().parent
ml_client = MLClient.from_config(credential=DefaultAzureCredential())
job = ml_client.create_or_update(
    command(
        command="python train.py --noise ${{inputs.noise}} --steps ${{inputs.steps}}",
        code=str(here / "src"),
        inputs={"noise": 0.1, "steps": 50},
        environment=Environment(
            image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04", conda_file=str(here / "conda.yml")
        ),
        compute="cpu-cluster",
        experiment_name="hello",
        display_name="hello",
    )
)
ml_client.jobs.stream(job.name)
print("ended as", str(ml_client.jobs.get(job.name).status).rpartition(".")[2].capitalize())
