"""Several processes that train one model over MPI. Experimental."""

from minidl.distributed.ranks import AllReduce, broadcast

__all__ = ["AllReduce", "broadcast"]
