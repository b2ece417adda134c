"""Where records are read by themselves: one folder a cloud, its SDK inside `client.py` alone."""
