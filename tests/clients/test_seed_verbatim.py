"""The examples are the tutorial's own code, character for character."""
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = sorted((Path(__file__).parent / "seed_snippets").glob("*.py"))
OF_2018 = sorted((Path(__file__).parent / "seed_snippets_v1").glob("*.py"))
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


def test_the_workflow_of_2018_has_its_block_as_it_is():
    text = (ROOT / "examples" / "seed-v1" / "workflow.py").read_text()
    block = text.split("as the tutorial has it ---\n")[1].split("# --- until here")[0]
    assert block == next(path for path in OF_2018 if path.stem == "8_batch_ai").read_text()
