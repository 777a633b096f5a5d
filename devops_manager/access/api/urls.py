"""Addresses below /api/v1/ about people, tokens and the audit trail."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from devops_manager.access.api import people_views, views

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("tokens", views.TokenViewSet, basename="token")
router.register("people", people_views.PeopleViewSet, basename="person")
router.register("audit", views.AuditViewSet, basename="audit")

urlpatterns = [
    path("me", views.MeView.as_view(), name="me"),
    path("auth/login", views.LoginView.as_view(), name="api-login"),
    path("auth/logout", views.LogoutView.as_view(), name="api-logout"),
    *router.urls,
]
