"""The differentiable operations under the name that users know: `import minivae.functional as F`."""

from .ops import *  # noqa: F403
from .ops import __all__  # noqa: F401
