"""Backups of targets: made, read back, proven, kept for as long as their schedule says, and restored."""
