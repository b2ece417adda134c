"""Fixtures that more than one folder of tests uses."""

from hypothesis import settings

# The machine that runs the tests may be busy: an example that takes long is no fault of the code.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
