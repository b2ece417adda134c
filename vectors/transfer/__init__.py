"""Points in bulk: files in and out of collections, streamed, resumable, and verified by checksums.

`uploads` takes files in parts; `importing` and `exporting` are the jobs; `sources` and `sinks` are where
files come from and go to, `ndjson` and `parquet` what is in them.
"""
