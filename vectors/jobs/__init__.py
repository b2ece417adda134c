"""Long work on collections, done by the runner outside the request threads.

`records` keeps jobs, `work` is what a handler is given, and each other module handles one kind.
"""
