from types import SimpleNamespace

import pytest

from multidiff import dataset
from multidiff.bench import distill
from multidiff.errors import InputError
from multidiff.modality import Example

REAL = [Example(f"shape {i}", f"caption {i}") for i in range(4)]


class Modality:
    data_spec = dataset.DataSpec

    def examples(self, data, split):
        return iter(REAL if split == "train" else REAL[:2])

    def metrics(self, real, generated):
        return {"distance": float(len(set(generated) - set(real))), "real_count": float(len(real))}


class Model:
    """Makes what the caption asks for when it has more than one step."""

    modality = Modality()
    text = SimpleNamespace(dim=384)
    recipe = SimpleNamespace(data=dataset.DataSpec())

    def sample(self, prompt, seed, steps, noun="shape"):
        return [prompt.replace("caption", noun) if steps > 1 else f"blur {seed}"]


def test_every_model_makes_one_sample_for_each_reference():
    model = Model()
    real = distill.references(model, ("folder",), "train", 200)
    table = list(distill.rows([("teacher", model, 50), ("student", model, 1)], real))
    assert [(row.name, row.steps, row.metrics["distance"]) for row in table] == [("teacher", 50, 0), ("student", 1, 4)]
    assert list(distill.markdown(iter(table))) == [
        "| model | steps | distance |",
        "| --- | --- | --- |",
        "| teacher | 50 | 0 |",
        "| student | 1 | 4 |",
        "",
        "real_count 4",
    ]
    [other] = distill.rows([("teacher", model, 50)], real, noun="form")
    assert other.metrics["distance"] == 4


def test_too_few_references_are_an_error():
    with pytest.raises(InputError, match="2 usable items in split 'val', at least 4"):
        distill.references(Model(), ("folder",), "val", 200)
