"""SaShiMi as an autoregressive network: each sample from those before it (Goel et al., arXiv 2202.09729)."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from diffwave_jax.models.backbone import Backbone, BackboneConfig, Variant
from diffwave_jax.models.dense import LayerNorm, Linear, ScalarNorm
from diffwave_jax.models.initial import standard_normal
from diffwave_jax.models.layers import WeightNormLinear
from diffwave_jax.models.s4 import Filters
from diffwave_jax.tokens import CODES, LEVELS

NORMS = {"scalar": ScalarNorm, "layer": LayerNorm}


@dataclasses.dataclass(frozen=True)
class AutoregressiveSaShiMiConfig(BackboneConfig):
    """The size of an autoregressive SaShiMi; the defaults, with those of `BackboneConfig`, are the paper's for SC09.

    Attributes:
      code: how audio becomes tokens, one of `diffwave_jax.tokens.CODES`.
      norm: of the blocks, "scalar" or "layer": one scale and shift a block, or one a channel.
      weight_norm_pools: the pools' linear layers are weight-normalised.
      free_q: state matrices that nothing keeps stable, as in the first published models.
    """

    d_model: int = 64
    n_layers: int | tuple[int, ...] = 8
    tie_state: bool = True
    unet: bool = False
    code: str = "scaled_mu_law"
    norm: str = "scalar"
    weight_norm_pools: bool = True
    free_q: bool = False

    def __post_init__(self):
        super().__post_init__()
        for field, known in (("code", CODES), ("norm", NORMS)):
            if getattr(self, field) not in known:
                raise ValueError(f"{field} must be one of {', '.join(known)}, got {getattr(self, field)!r}")

    @property
    def variant(self) -> Variant:
        """Causal, and what the checkpoints of different years have."""
        pool_linear = WeightNormLinear if self.weight_norm_pools else Linear
        return Variant(causal=True, norm=NORMS[self.norm], pool_linear=pool_linear, free_q=self.free_q)


class AutoregressiveSaShiMi(Backbone):
    """Predicts each token from those before it.

    Two modes compute the same: this class's call, on whole clips by convolution, and `diffwave_jax.models.stepping`,
    one sample after another.

    Args:
      config: its size.
      rngs: source of the initial values.
    """

    config: AutoregressiveSaShiMiConfig

    def __init__(self, config: AutoregressiveSaShiMiConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.embedding = nnx.Embed(LEVELS, config.d_model, embedding_init=standard_normal, rngs=rngs)
        super().__init__(config, rngs=rngs)
        self.norm = LayerNorm(config.d_model, dtype=dtype, rngs=rngs)
        self.head = Linear(config.d_model, LEVELS, rngs=rngs)

    def __call__(
        self, tokens: Int[Array, "batch samples"], *, filters: Filters | None = None
    ) -> Float32[Array, "batch samples levels"]:
        """Unnormalised log-probabilities (B, L, LEVELS) float32 of what follows each of `tokens` (B, L).

        Args:
          tokens: (B, L) integers below LEVELS, L a multiple of the product of `pool`.
          filters: what `filters(L)` returned; None computes them here.
        """
        filters = self.filters(tokens.shape[1]) if filters is None else filters
        return self.logits(self.stages(self.embed(tokens), filters))

    def embed(self, tokens: Int[Array, "*rows"]) -> Float[Array, "*rows channels"]:
        """(...) tokens to (..., d_model), what enters the first stage."""
        return self.embedding(tokens).astype(self.config.dtype)

    def logits(self, h: Float[Array, "*rows channels"]) -> Float32[Array, "*rows levels"]:
        """(..., d_model), what leaves the first stage, to unnormalised log-probabilities (..., LEVELS)."""
        return self.head(self.norm(h).astype(jnp.float32))

    def lengthen(self, length: int) -> None:
        """Takes clips of up to `length` samples, at the same distributions: the kernels go on where they were cut.

        On the host, in float64; the weights C of those stages change that had a shorter `l_max`.
        """
        needed = [-(-length // rate) for rate in self.config.rates]
        l_max = tuple(max(pair) for pair in zip(needed, self.config.stage_l_max, strict=True))
        for block in self.s4_blocks():
            if l_max[block.stage] != block.s4.kernel.l_max:
                block.s4.kernel.lengthen(l_max[block.stage])
        self.config = dataclasses.replace(self.config, l_max=l_max)
