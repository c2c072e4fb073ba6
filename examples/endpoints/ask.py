"""Asks the endpoint by the SDK, and then without it, as a program elsewhere would."""
import json
import urllib.request
from pathlib import Path

from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential

client = MLClient.from_config(DefaultAzureCredential())
request = Path(__file__).with_name("request.json")
print("by the SDK:", client.online_endpoints.invoke("weights", request_file=request))

endpoint = client.online_endpoints.get("weights")
key = client.online_endpoints.get_keys("weights").primary_key
asked = urllib.request.Request(endpoint.scoring_uri, request.read_bytes(),
                               {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
with urllib.request.urlopen(asked) as answer:
    print("by HTTP:", json.loads(answer.read()), "from", answer.headers["azureml-model-deployment"])
