from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import autodiscover_modules


class DeploymentsConfig(AppConfig):
    name = "deployments"

    def ready(self):
        # Importing the handlers registers them with the engine.
        autodiscover_modules("operations")
        if settings.ROLE == "web":
            from deployments import metrics_export

            metrics_export.register()
