"""The web role: Django, and in front of it the ASGI applications that `settings.ASGI_MOUNTS` names.

ASGI_MOUNTS is a list of (regular expression, dotted path). A request whose path the expression matches
from its start goes to that application as it is; everything else goes to Django.
"""

import os
import re

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

from controlplane import probe_server

_django = get_asgi_application()
_stop_probes = probe_server.serve() if settings.ROLE == "web" else None
_mounts = [(re.compile(pattern), import_string(name)) for pattern, name in settings.ASGI_MOUNTS]


async def application(scope, receive, send):
    """The ASGI callable that the server runs."""
    if scope["type"] == "lifespan":
        return await _lifespan(scope, receive, send)
    for pattern, mounted in _mounts:
        if pattern.match(scope["path"]):
            return await mounted(scope, receive, send)
    return await _django(scope, receive, send)


async def _lifespan(scope, receive, send):
    """Answer the server's start and stop; a mounted application's `shutdown` coroutine runs at the stop."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            if _stop_probes:
                _stop_probes()
            for _, mounted in _mounts:
                shutdown = getattr(mounted, "shutdown", None)
                if shutdown:
                    await shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return
