"""How a served model is asked: with the schema, and for its likeliest words."""

from __future__ import annotations

import json

from fundus_ray.policy.serve import _sampling_params
from fundus_ray.traces.reader import finding_request
from fundus_ray.types import Modality


def test_the_likeliest_words_within_the_schema_are_asked_for() -> None:
    request = finding_request(Modality.OCT, ["drusen", "hard exudates"], max_findings=3, max_tokens=50)
    params = _sampling_params(request)
    assert (params.temperature, params.max_tokens) == (0, 50)
    assert params.structured_outputs is not None
    assert json.loads(str(params.structured_outputs.json)) == json.loads(request.schema)
