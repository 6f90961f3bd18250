"""The Transformer block with its few switches; the three assemblies differ in nothing else.

Shapes: B batch, T target length, S source length, D model width, H heads, F inner width.
Masks are boolean; True means "attend".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.model.attention import BlockSizes, CrossAttention, Rotary, SelfAttention
from llm.model.cache import KeyValueCache
from llm.model.dropout import Dropout
from llm.model.fused import rms_norm, swiglu
from llm.model.products import Linear, multiply


@dataclass(frozen=True)
class BlockSwitches:
    """How a block is wired: what distinguishes Llama's from BERT's and Pegasus's."""

    norm: Literal["rms", "layer"]
    norm_place: Literal["pre", "post"]
    norm_epsilon: float
    feed_forward: Literal["swiglu", "gelu", "relu"]
    bias: bool


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019, eq. 4), its statistics in float32 as the twin takes them."""

    def __init__(self, width: int, *, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        if x.dtype == torch.float32:
            return rms_norm(x, self.weight, epsilon=self.epsilon)
        single = x.float()
        scaled = single * torch.rsqrt(single.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * scaled.to(x.dtype)


def make_norm(switches: BlockSwitches, width: int) -> nn.Module:
    """RMSNorm, or LayerNorm (Ba et al. 2016, eq. 4)."""
    if switches.norm == "rms":
        return RMSNorm(width, epsilon=switches.norm_epsilon)
    return nn.LayerNorm(width, eps=switches.norm_epsilon)


class FeedForward(nn.Module):
    """Two layers with an activation between, or SwiGLU (Shazeer 2020, eq. 5), whose first matrix is gate then up."""

    def __init__(self, switches: BlockSwitches, sizes: BlockSizes) -> None:
        super().__init__()
        self.kind = switches.feed_forward
        inner = 2 * sizes.feed_forward if self.kind == "swiglu" else sizes.feed_forward
        self.inner = Linear(sizes.width, inner, bias=switches.bias)
        self.output = Linear(sizes.feed_forward, sizes.width, bias=switches.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        if self.kind == "swiglu":
            # Two products: halves of one would lie in memory with gaps, over which every step between is slow.
            gate, up = (multiply(x, half) for half in self.inner.weight.chunk(2))
            hidden = swiglu(gate, up)
        elif self.kind == "gelu":
            hidden = F.gelu(self.inner(x))
        else:
            hidden = F.relu(self.inner(x), inplace=True)
        out: Tensor = self.output(hidden)
        return out


class Block(nn.Module):
    """Self-attention, cross-attention where there is a source, and feed-forward, each with residual and norm."""

    def __init__(self, switches: BlockSwitches, sizes: BlockSizes, *, cross: bool = False) -> None:
        super().__init__()
        self.pre = switches.norm_place == "pre"
        self.attention = SelfAttention(sizes, bias=switches.bias)
        self.attention_norm = make_norm(switches, sizes.width)
        self.cross_attention = CrossAttention(sizes, bias=switches.bias) if cross else None
        self.cross_attention_norm = make_norm(switches, sizes.width) if cross else None
        self.feed_forward = FeedForward(switches, sizes)
        self.feed_forward_norm = make_norm(switches, sizes.width)
        self.dropout = Dropout(sizes.dropout)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None,
        causal: bool = False,
        rotary: Rotary | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D); masks as in the attentions."""
        inner = self.attention_norm(x) if self.pre else x
        inner = self.attention(inner, mask=mask, causal=causal, rotary=rotary, cache=cache, layer=layer)
        x = self._close(x, inner, self.attention_norm)
        if self.cross_attention is not None and self.cross_attention_norm is not None:
            assert memory is not None
            inner = self.cross_attention_norm(x) if self.pre else x
            inner = self.cross_attention(inner, memory=memory, mask=memory_mask, cache=cache, layer=layer)
            x = self._close(x, inner, self.cross_attention_norm)
        inner = self.feed_forward_norm(x) if self.pre else x
        return self._close(x, self.feed_forward(inner), self.feed_forward_norm)

    def _close(self, x: Tensor, inner: Tensor, norm: nn.Module) -> Tensor:
        x = x + self.dropout(inner)
        return x if self.pre else norm(x)


def initialise(model: nn.Module, *, residual_layers: int) -> None:
    """Draw fresh weights from torch's current random state.

    Matrices: normal with the variance of Glorot and Bengio (2010, eq. 12); those that write into the residual stream
    are divided by sqrt(2 x layers), so that its variance does not grow with depth (Radford et al. 2019, section 2.3).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if name.endswith(".output"):
                with torch.no_grad():
                    module.weight.div_((2 * residual_layers) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def causal_mask(mask: Tensor | None, *, past: int, length: int, device: torch.device) -> Tensor | None:
    """Mask for `length` new tokens after `past` stored ones, broadcasting to (B, H, T, past + T).

    `mask` (B, past + T): which tokens are real. None is returned when one new token may see everything.
    """
    if mask is None and length == 1:
        return None
    rows = torch.arange(past, past + length, device=device)[:, None]
    columns = torch.arange(past + length, device=device)[None, :]
    allowed = columns <= rows
    if mask is None:
        return allowed
    # A token always sees itself: a padding token that sees nothing would give NaN, and NaN times weight 0 is NaN.
    return (allowed[None] & mask[:, None, :] | (columns == rows))[:, None]
