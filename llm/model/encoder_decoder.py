"""Encoder-decoder for translation: the twin of PegasusForConditionalGeneration.

Shapes: B batch, S source length, T target length, D model width, H heads, N selected target positions, V vocabulary.
Masks: True means "attend".
"""

from __future__ import annotations

from torch import Tensor, nn

from llm.model.attention import BlockSizes
from llm.model.cache import KeyValueCache
from llm.model.config import EncoderDecoderConfig
from llm.model.dropout import Dropout
from llm.model.layers import Block, BlockSwitches, causal_mask, initialise, make_norm
from llm.model.positions import sinusoidal_table
from llm.model.products import multiply

PEGASUS = BlockSwitches(norm="layer", norm_place="pre", norm_epsilon=1e-5, feed_forward="relu", bias=True)


class EncoderDecoderModel(nn.Module):
    """A source text to next-token scores of its translation; all three embeddings are one matrix."""

    positions: Tensor

    def __init__(self, config: EncoderDecoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.sizes = BlockSizes.of(config, kv_heads=config.heads)
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.encoder_blocks = nn.ModuleList(Block(PEGASUS, self.sizes) for _ in range(config.encoder_layers))
        self.encoder_norm = make_norm(PEGASUS, config.width)
        self.decoder_blocks = nn.ModuleList(
            Block(PEGASUS, self.sizes, cross=True) for _ in range(config.decoder_layers)
        )
        self.decoder_norm = make_norm(PEGASUS, config.width)
        self.dropout = Dropout(config.dropout)
        self.register_buffer("positions", sinusoidal_table(config.max_positions, config.width), persistent=False)
        initialise(self, residual_layers=config.decoder_layers)
        # Inputs are scaled by sqrt(D), which brings them to unit variance, the size of the position vectors.
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)

    @property
    def max_positions(self) -> int:
        """Longest source and longest target, in tokens."""
        return self.config.max_positions

    def encode(self, source: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Source (B, S) -> memory (B, S, D). `mask` (B, S) marks the real tokens; None: all are."""
        x = self._embed(source, past=0)
        attend = None if mask is None else mask[:, None, None, :]
        for block in self.encoder_blocks:
            x = block(x, mask=attend)
        memory: Tensor = self.encoder_norm(x)
        return memory

    def decode(
        self,
        target: Tensor,
        *,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Scores of the next token: target (B, T) -> (B, T, V); (B, 1, V) with `last_only`.

        `memory_mask` (B, S) marks the real source tokens.
        """
        states = self.target_states(target, memory=memory, memory_mask=memory_mask, cache=cache)
        return multiply(self.decoder_norm(states[:, -1:] if last_only else states), self.embedding.weight)

    def target_states(
        self, target: Tensor, *, memory: Tensor, memory_mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """What `decode` makes scores of, before the last norm: (B, T, D)."""
        past = cache.used if cache is not None else 0
        length = target.shape[1]
        attend = None if past == 0 else causal_mask(None, past=past, length=length, device=target.device)
        memory_attend = None if memory_mask is None else memory_mask[:, None, None, :]
        x = self._embed(target, past=past)
        for layer, block in enumerate(self.decoder_blocks):
            x = block(
                x,
                mask=attend,
                causal=past == 0 and length > 1,
                memory=memory,
                memory_mask=memory_attend,
                cache=cache,
                layer=layer,
            )
        if cache is not None:
            cache.advance(length)
        return x

    def states(self, source: Tensor, target: Tensor, *, source_mask: Tensor | None, select: Tensor) -> Tensor:
        """What scores are made of where `select` (B, T) is true, (N, D): no time goes into the scores of padding."""
        memory = self.encode(source, mask=source_mask)
        selected: Tensor = self.decoder_norm(self.target_states(target, memory=memory, memory_mask=source_mask)[select])
        return selected

    def forward(self, source: Tensor, target: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Scores of the next token, (B, T, V): `encode`, then `decode`."""
        return self.decode(target, memory=self.encode(source, mask=source_mask), memory_mask=source_mask)

    def _embed(self, ids: Tensor, *, past: int) -> Tensor:
        positions = self.positions[past : past + ids.shape[1]].to(self.embedding.weight.dtype)
        embedded: Tensor = self.dropout(self.embedding(ids) * self.config.width**0.5 + positions)
        return embedded

    def new_cache(self, batch: int, length: int) -> KeyValueCache:
        """An empty cache for `batch` rows of at most `length` target tokens."""
        return KeyValueCache(
            layers=self.config.decoder_layers,
            batch=batch,
            kv_heads=self.config.heads,
            room=length,
            head_width=self.sizes.head_width,
            like=self.embedding.weight.detach(),
        )
