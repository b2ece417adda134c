"""Reads and bounds a replica's log."""


def read(folder, **kw):
    return iter(())


def rotate(folder, bytes):
    pass
