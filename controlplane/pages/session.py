"""Signing in and out, and choosing the project."""

from django.contrib.auth import logout
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.errors import TooManyRequestsError
from controlplane.pages.access import PROJECT_IN_SESSION, memberships
from controlplane.throttle import count_sign_in


class SignInForm(AuthenticationForm):
    """The same words whether the name or the password was wrong, so that names cannot be guessed."""

    error_messages = {
        "invalid_login": "The user name and password do not match. Check both and try again.",
        "inactive": "This account is switched off. Ask an administrator.",
    }

    def clean(self):
        try:
            count_sign_in(self.cleaned_data.get("username", ""), self.request.META.get("REMOTE_ADDR", ""))
        except TooManyRequestsError as error:
            raise ValidationError(str(error), code="too_many_requests") from None
        return super().clean()


class SignIn(LoginView):
    template_name = "controlplane/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_invalid(self, form):
        response = super().form_invalid(form)
        limited = form.has_error("__all__", "too_many_requests")
        response.status_code = TooManyRequestsError.status if limited else 422
        return response


@require_POST
def sign_out(request):
    logout(request)
    return redirect("sign-in")


@require_POST
def project_choose(request):
    """Keep the choice in the session; a project one is no member of changes nothing."""
    chosen = request.POST.get("project", "")
    if any(one.project_id == chosen for one in memberships(request)):
        request.session[PROJECT_IN_SESSION] = chosen
    return redirect("/")
