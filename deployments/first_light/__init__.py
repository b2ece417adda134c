"""The main job from an empty data directory to nothing left, through the REST API alone.

`script/up --check` runs it on generated documents, `bench/first_light` on real ones.
"""
