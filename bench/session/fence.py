"""A fence behind MPI_Init that holds where Slurm's does not."""

import ctypes
import os

PMIX_BOOL = 1
"""A type of a value, as pmix_common.h counts them."""
INFO_BYTES = 1024
"""Room for a pmix_info_t, which takes 552 bytes."""


def fence() -> None:
    """Wait until all ranks are here, without MPI; return at once where MPI_Init has done so.

    MPI_Init of Open MPI 5 ends with two fences of PMIx; between them a rank begins to understand
    messages. Slurm's PMIx holds nobody back in a fence that gathers no data, as the second: a rank
    may send before another has come out of the first, and that one crashes (open-mpi/ompi#12495).
    This is a third, which gathers data, though there is none.
    """
    if not os.environ.get("PMIX_NAMESPACE", "").startswith("slurm."):
        return
    try:
        pmix = ctypes.CDLL("libpmix.so.2", mode=os.RTLD_NOLOAD)
    except OSError:
        return  # another MPI
    info = ctypes.create_string_buffer(INFO_BYTES)
    gather = ctypes.c_bool(True)
    pmix.PMIx_Info_load(info, b"pmix.collect", ctypes.byref(gather), PMIX_BOOL)
    pmix.PMIx_Fence(None, ctypes.c_size_t(0), info, ctypes.c_size_t(1))
