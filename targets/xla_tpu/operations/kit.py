"""What lowered operations may use of jax, and how they multiply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kit:
    """What the operations are made with: jax's modules, the float type to compute in, the products' precision."""

    jnp: Any
    lax: Any
    nn: Any
    floats: Any
    precision: Any

    def dtype(self, torch_dtype: Any) -> Any:
        """jax's name of a torch dtype; jax computes in 32 bits where torch says 64, and floats follow the candidate."""
        name = str(torch_dtype).removeprefix("torch.")
        if name in ("float32", "float64"):
            return self.floats
        return {"int64": self.jnp.int32, "bool": self.jnp.bool_}.get(name) or getattr(self.jnp, name)

    def scalar(self, value: Any, dtype: Any) -> Any:
        """A constant within the type's range: float32's least value would be minus infinity in bfloat16."""
        if self.jnp.issubdtype(dtype, self.jnp.floating):
            limit = float(self.jnp.finfo(dtype).max)
            value = min(max(value, -limit), limit) if abs(value) != float("inf") else value
        return self.jnp.asarray(value, dtype)
