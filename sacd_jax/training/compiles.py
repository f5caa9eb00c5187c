"""Programs that JAX compiled in this process, and how many of them came from its cache."""

import functools
from dataclasses import dataclass

from jax import monitoring

_COMPILED = "/jax/core/compile/backend_compile_duration"
_FROM_CACHE = "/jax/compilation_cache/cache_hits"


@dataclass
class Compiles:
    """Counts since the process began to count.

    Attributes:
        programs: that were needed.
        cached: those of them that were read from the persistent cache.
        seconds: of compiling and of reading the cache.
    """

    programs: int = 0
    cached: int = 0
    seconds: float = 0.0

    def words(self) -> str:
        """In one line."""
        return f"{self.programs} programs in {self.seconds:.1f} s, {self.cached} from the cache"


@functools.cache
def counted() -> Compiles:
    """The one count of this process; JAX tells it of every program from the first call on."""
    found = Compiles()

    def compiled(event: str, seconds: float, **_: object) -> None:
        if event == _COMPILED:
            found.programs += 1
            found.seconds += seconds

    def happened(event: str, **_: object) -> None:
        found.cached += event == _FROM_CACHE

    monitoring.register_event_duration_secs_listener(compiled)
    monitoring.register_event_listener(happened)
    return found
