"""Addresses below /api/v1/ about hosts and groups."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from hosts_app.api import group_views, views

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("hosts", views.HostViewSet, basename="host")
router.register("pending-hosts", views.PendingHostViewSet, basename="pending-host")
router.register("host-groups", group_views.GroupViewSet, basename="host-group")

urlpatterns = [
    path("host-tags", views.HostTagsView.as_view(), name="host-tags"),
    path("targets/preview", views.TargetPreviewView.as_view(), name="targets-preview"),
    *router.urls,
]
