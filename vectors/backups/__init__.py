"""Backups of a whole vector database: dumped, read back and proven by one command of role `api`.

`manage.py vectors_backup dump|restore|prove|delete` is run beside a database by whoever keeps backups: as a
process of one machine, or as a job of a cluster. It tells how far it is in lines of JSON.
"""
