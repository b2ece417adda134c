"""The dialects' addresses, to be included at the root or below another path that ends with a slash."""

from django.urls import re_path

from vectors.compat.views import serve_pinecone, serve_qdrant

urlpatterns = [
    re_path(r"^pinecone(?P<rest>/.*)?$", serve_pinecone, name="vectors-pinecone"),
    re_path(r"^qdrant(?P<rest>/.*)?$", serve_qdrant, name="vectors-qdrant"),
]
