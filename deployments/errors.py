"""What providers and runtimes raise; they map every SDK's and system's error to these."""

from worker.handlers import StepError


class ProviderError(StepError):
    """The provider could not do this."""

    code = "provider_error"


class Transient(ProviderError):
    """The provider does not answer for now; it is tried again."""

    code = "transient"


class Denied(ProviderError):
    """The provider refused the credentials or a permission is missing."""

    permanent = True
    code = "denied"


class NotFound(ProviderError):
    """The provider has no such thing."""

    permanent = True
    code = "not_found"


class Conflict(ProviderError):
    """Something else holds or changed what this needs."""

    permanent = True
    code = "conflict"


class QuotaExceeded(ProviderError):
    """A limit of the account or machine is reached."""

    permanent = True
    code = "quota_exceeded"


class Invalid(ProviderError):
    """The provider says that a value is not valid."""

    permanent = True
    code = "invalid"
