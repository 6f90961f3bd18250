"""What training costs as contexts get longer and models wider: tokens a second and peak memory; one JSON line.

Each point is a race of benchmarks.train_lm: ours in float32 and bfloat16 beside Llama of transformers, batches of 4,096
tokens. What text costs as it grows, 1 to 100 MB, benchmarks.tokenize measures.
"""

from __future__ import annotations

import json
import sys

from benchmarks.race import parser, ratios, run
from benchmarks.train_lm import CONTESTANTS, SIZES

_NAMES = ("ours", "ours_bfloat16", "llama")


def main() -> None:
    """Print one JSON line."""
    options = parser("benchmarks.scale", __doc__).parse_args()
    taking_part = {name: CONTESTANTS[name] for name in _NAMES}
    points = {}
    for size in SIZES:
        if size == "medium":
            continue
        print(size, file=sys.stderr, flush=True)
        facts = run("benchmarks.train_lm", taking_part, options, arguments=["--size", size])
        assert facts is not None
        points[size] = {
            "tokens_per_second": facts["median"],
            "peak_mb": facts["peak_mb"],
            "ratio": {name: ratios(facts["median"], name, ["llama"]) for name in ("ours", "ours_bfloat16")},
        }
    print(json.dumps({"benchmark": "scale", "results": points}))


if __name__ == "__main__":
    main()
