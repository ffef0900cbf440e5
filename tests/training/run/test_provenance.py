"""What a training was given survives its checkpoint."""

import json
from dataclasses import asdict

from istvt.data.layouts.choose import LayoutOptions
from istvt.training.run.checkpoint import DataFacts


def test_facts_survive_json() -> None:
    facts = DataFacts("data", 9, LayoutOptions("ffpp", methods=("Deepfakes",)), "jpeg 10")
    assert DataFacts.from_dict(json.loads(json.dumps(asdict(facts)))) == facts
