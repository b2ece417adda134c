"""The gateway: `/api/v1/targets/{target}/vectors/...` goes to a ready replica of the target.

An ASGI application in front of Django (`settings.ASGI_MOUNTS`). It checks who calls, chooses a replica,
tries again on another one when that is safe, and streams the answer back. What the caller may do with the
vectors is decided by the target, from the role in the token that the gateway sends along.
"""

from deployments.gateway.asgi import Gateway

application = Gateway()
