"""FOCUS: the columns, what may stand in them, and how files of each version are read and written."""
