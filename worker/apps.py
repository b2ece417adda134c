from django.apps import AppConfig


class WorkerConfig(AppConfig):
    name = "worker"

    def ready(self):
        # Makes our Celery application the one that tasks are sent through, in every role.
        from worker import celery  # noqa: F401
