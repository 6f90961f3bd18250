"""Plain torch package behind Nightshift: corpora, tokenizer, Transformers, training, decoding, evaluation."""

__version__ = "0.1.0"
