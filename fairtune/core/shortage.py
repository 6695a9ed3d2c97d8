"""Tell whether an error says that memory does not suffice."""

from __future__ import annotations

from fairtune.core.disk import chain

OUT_OF_MEMORY = "out of memory"
# torch's two allocators, and cuBLAS, raise a RuntimeError that only its words tell apart.
MEMORY_WORDS = (OUT_OF_MEMORY, "out of gpu memory", "can't allocate memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or what caused it, says that memory does not suffice."""
    links = list(chain(error))
    said = " ".join(str(link).lower() for link in links)
    return any(isinstance(link, MemoryError) for link in links) or any(
        words in said for words in MEMORY_WORDS
    )
