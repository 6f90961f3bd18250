"""What a model has to beat: simple, strong methods, scored on the same test split by the same metrics.

Each file holds one public `score(data) -> BaselineResult`; a family names the ones that it competes with.
"""
