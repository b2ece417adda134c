"""Pinecone's and Qdrant's APIs on this one's collections, so that their clients work unchanged.

A dialect translates requests into calls of the services in `vectors/` and their answers back. It keeps no
data of its own but a collection's attributes, and what cannot be served is refused in words.
"""
