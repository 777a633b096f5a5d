"""Addresses below /api/v1/ about tasks."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from tasks_app.api import views

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("tasks", views.TaskViewSet, basename="task")

urlpatterns = [
    path("hosts/<uuid:host_id>/tasks", views.HostTasksView.as_view(), name="host-tasks"),
    path("stats", views.StatsView.as_view(), name="stats"),
    path("metrics/summary", views.MetricsSummaryView.as_view(), name="metrics-summary"),
    *router.urls,
]
