"""Which operations the tests of a file have differentiated."""

import pytest

from minivae import ops
from minivae.autograd import Function


@pytest.fixture(scope="module")
def differentiated():
    """The names of the Functions of ops whose backward() has run in this file: each backward() notes its own."""
    ran = set()
    originals = {f: f.backward for f in Function.__subclasses__() if f.__module__.startswith(ops.__name__)}
    for f, backward in originals.items():

        def recorded(self, dy, backward=backward, name=f.__name__):
            ran.add(name)
            return backward(self, dy)

        f.backward = recorded
    yield ran
    for f, backward in originals.items():
        f.backward = backward
