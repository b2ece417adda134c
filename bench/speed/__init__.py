"""The vector API's speed, measured: what `bench/vectors` runs."""
