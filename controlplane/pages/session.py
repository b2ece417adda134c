"""Signing in and out, and choosing the project."""

from django.contrib.auth import logout
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.pages.access import PROJECT_IN_SESSION, memberships


class SignInForm(AuthenticationForm):
    """The same words whether the name or the password was wrong, so that names cannot be guessed."""

    error_messages = {
        "invalid_login": "The user name and password do not match. Check both and try again.",
        "inactive": "This account is switched off. Ask an administrator.",
    }


class SignIn(LoginView):
    template_name = "controlplane/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_invalid(self, form):
        response = super().form_invalid(form)
        response.status_code = 422
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
