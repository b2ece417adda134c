"""`manage.py up`: PostgreSQL, Redis, web, worker, beat and jobs as the children of one process."""
