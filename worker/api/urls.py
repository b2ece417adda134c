"""Addresses of operations, below /api/v1/."""

from django.urls import path

from worker.api import views

urlpatterns = [
    path("operations", views.OperationsView.as_view()),
    path("operations/<str:operation>", views.OperationView.as_view()),
    path("operations/<str:operation>/events", views.EventsView.as_view()),
    path("operations/<str:operation>/cancel", views.CancelView.as_view()),
    path("operations/<str:operation>/retry", views.RetryView.as_view()),
]
