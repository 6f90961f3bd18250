"""How text is chosen from next-token scores. Torch-free, so that a bad value is refused at once."""

from __future__ import annotations

from pydantic import Field, model_validator

from llm.config import Config


class SearchConfig(Config):
    """Greedy search unless `temperature` asks for sampling or `num_beams` for beam search."""

    max_new_tokens: int = Field(128, ge=1, le=1 << 17, description="longest text, in tokens, the prompt not counted")
    temperature: float = Field(0.0, ge=0.0, le=100.0, description="0 takes the likeliest token; above 0 samples")
    top_k: int = Field(0, ge=0, description="sample from the k likeliest tokens; 0 is off; needs temperature > 0")
    top_p: float = Field(
        1.0, gt=0.0, le=1.0, description="sample from the likeliest tokens that hold this probability; 1 is off"
    )
    num_beams: int = Field(1, ge=1, le=256, description="partial texts kept by beam search; 1 is off")
    length_penalty: float = Field(
        1.0, ge=-10.0, le=10.0, description="beam score = log-probability / length ** this; larger favours longer texts"
    )
    seed: int = Field(1, ge=0, le=(1 << 63) - 1, description="random seed of sampling")

    @model_validator(mode="after")
    def _one_way(self) -> SearchConfig:
        if self.num_beams > 1 and self.temperature > 0:
            raise ValueError(
                f"num_beams ({self.num_beams}) and temperature ({self.temperature:g}) exclude each other: "
                "set num_beams = 1 to sample, or temperature = 0 for beam search"
            )
        return self
