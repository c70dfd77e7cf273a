"""The compiled kernels, or one clear error."""

try:
    from multipath_gcn import _kernels
except ImportError as error:
    raise ImportError(
        f"the compiled kernels of multipath_gcn cannot be loaded: {error}. "
        "To rebuild them: `pip install --no-build-isolation -e .` in the source folder."
    ) from error

__all__ = ["_kernels"]
