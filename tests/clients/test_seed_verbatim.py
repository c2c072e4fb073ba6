"""The examples are the tutorial's own code, character for character."""
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = sorted((Path(__file__).parent / "seed_snippets").glob("*.py"))
CLIENT = """\
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential

ml_client = MLClient.from_config(credential=DefaultAzureCredential())

"""


def test_there_are_snippets():
    assert {path.stem for path in SNIPPETS} >= {"create_cluster", "create_instance", "train_with_cluster"}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda path: path.stem)
def test_example_is_the_snippet(snippet):
    example = ROOT / "examples" / "seed" / snippet.name
    assert example.read_text() == CLIENT + snippet.read_text()
