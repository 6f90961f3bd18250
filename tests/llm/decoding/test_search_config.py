"""SearchConfig refuses what cannot be searched, in words."""

import subprocess
import sys

import pytest

from llm.config import parse_config
from llm.decoding.config import SearchConfig
from llm.errors import ConfigError


def test_the_default_is_greedy():
    config = SearchConfig()
    assert (config.temperature, config.num_beams) == (0.0, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("num_beams", 0),
        ("length_penalty", float("nan")),
        ("seed", -1),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        parse_config(SearchConfig, {field: value}, where="request")


def test_beams_with_temperature_are_refused_with_both_remedies():
    with pytest.raises(ConfigError, match=r"set num_beams = 1 to sample, or temperature = 0 for beam search"):
        parse_config(SearchConfig, {"num_beams": 4, "temperature": 0.7}, where="request")


def test_importing_the_config_does_not_import_torch():
    program = "import sys, llm.decoding.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
