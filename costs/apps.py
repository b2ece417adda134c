from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class CostsConfig(AppConfig):
    name = "costs"

    def ready(self):
        # Importing the handlers registers them with the engine.
        autodiscover_modules("operations")
        from costs.estimates import plan_estimated
        from deployments import estimation

        estimation.register(plan_estimated)
