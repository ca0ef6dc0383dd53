"""Several processes that train one model over MPI. Experimental."""

from minidl.distributed.allreduce import AllReduce, broadcast

__all__ = ["AllReduce", "broadcast"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
