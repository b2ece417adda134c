#!/usr/bin/env python
"""Django's command line for every role of the image."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    from django.core.exceptions import ImproperlyConfigured

    try:
        from django.conf import settings
        from django.core.management import execute_from_command_line

        # Read now: a setting that is wrong is told in a line, not in a traceback.
        settings.INSTALLED_APPS  # noqa: B018
    except ImproperlyConfigured as error:
        raise SystemExit(f"error: {error}") from None
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
