"""Addresses of providers, targets and what belongs to them, below /api/v1/."""

from django.urls import path

from deployments.api import accounts, collection_jobs, observation, rollouts, targets

urlpatterns = [
    path("providers", targets.ProvidersView.as_view()),
    path("providers/<str:provider>", targets.ProviderView.as_view()),
    path("accounts", accounts.AccountsView.as_view()),
    path("accounts/<str:account>", accounts.AccountView.as_view()),
    path("accounts/<str:account>/check", accounts.AccountCheckView.as_view()),
    path("targets", targets.TargetsView.as_view()),
    path("targets/<str:target>", targets.TargetView.as_view()),
    path("targets/<str:target>/plans", targets.PlansView.as_view()),
    path("plans/<str:plan>", targets.PlanView.as_view()),
    path("plans/<str:plan>/apply", targets.PlanApplyView.as_view()),
    path("releases", rollouts.ReleasesView.as_view()),
    path("releases/<str:release>", rollouts.ReleaseView.as_view()),
    path("targets/<str:target>/rollouts", rollouts.TargetRolloutsView.as_view()),
    path("rollouts/<str:rollout>", rollouts.RolloutView.as_view()),
    path("rollouts/<str:rollout>/analyses", rollouts.RolloutAnalysesView.as_view()),
    path("rollouts/<str:rollout>/abort", rollouts.RolloutAbortView.as_view()),
    path("rollouts/<str:rollout>/promote", rollouts.RolloutPromoteView.as_view()),
    path("rollouts/<str:rollout>/pause", rollouts.RolloutPauseView.as_view()),
    path("rollouts/<str:rollout>/resume", rollouts.RolloutResumeView.as_view()),
    path("targets/<str:target>/rollback", rollouts.RollbackView.as_view()),
    path("targets/<str:target>/scale", rollouts.ScaleView.as_view()),
    path("targets/<str:target>/restart", rollouts.RestartView.as_view()),
    path("targets/<str:target>/collection-jobs", collection_jobs.CollectionJobsView.as_view()),
    path("targets/<str:target>/replicas", observation.ReplicasView.as_view()),
    path("targets/<str:target>/health", observation.HealthView.as_view()),
    path("targets/<str:target>/metrics", observation.MetricsView.as_view()),
    path("targets/<str:target>/logs", observation.LogsView.as_view()),
    path("targets/<str:target>/events", observation.TargetEventsView.as_view()),
]
