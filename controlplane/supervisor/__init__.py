"""`manage.py up`: PostgreSQL, Redis, web, worker and beat as the children of one process."""
