"""Addresses below /api/v1/ about enrolment."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from agents_app.api.views import EnrollmentTokenViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("enrollment-tokens", EnrollmentTokenViewSet, basename="enrollment-token")

urlpatterns = router.urls
