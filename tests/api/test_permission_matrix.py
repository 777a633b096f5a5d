"""docs/permissions.md says who may do what; here every address is asked."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import URLResolver, get_resolver
from rest_framework.permissions import AllowAny
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from devops_manager.access.models import Role
from devops_manager.access.permissions import RolePermission
from tests.permission_walk import WALKERS, Walker, documented, steps
from tests.task_factories import make_user

PUBLIC = {"LoginView"}


def drf_views() -> list[tuple[type[APIView], dict[str, str]]]:
    found: list[tuple[type[APIView], dict[str, str]]] = []

    def look(patterns: list[Any]) -> None:
        for one in patterns:
            if isinstance(one, URLResolver):
                look(one.url_patterns)
                continue
            view = getattr(one.callback, "cls", getattr(one.callback, "view_class", object))
            if issubclass(view, APIView):
                found.append((view, getattr(one.callback, "actions", None) or {}))

    look(get_resolver().url_patterns)
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("who", WALKERS)
def test_every_address_lets_in_whom_the_matrix_names(who: str) -> None:
    walker = Walker(who)
    expected = documented()
    got_in = {step for step in steps() if walker.gets_in(step)}
    named = {step for step, roles in expected.items() if who in roles}
    assert got_in == named


def test_the_matrix_names_nothing_that_is_not_there() -> None:
    assert set(documented()) <= set(steps())


def test_every_view_of_the_api_declares_its_roles_and_nothing_more() -> None:
    for view, actions in drf_views():
        if view.__name__ in PUBLIC:
            assert view.permission_classes == [AllowAny]
            continue
        assert view.permission_classes == [RolePermission], view
        declared = getattr(view, "permissions", {})
        served = set(actions.values()) or {
            method for method in ("get", "post", "put", "patch", "delete") if hasattr(view, method)
        }
        assert served <= set(declared), view
        assert all(roles for roles in declared.values()), view


@pytest.mark.django_db
@pytest.mark.parametrize("role", Role.values)
def test_a_view_that_declares_nothing_refuses_everybody(role: str) -> None:
    class Silent(APIView):
        def get(self, _request: Any) -> None:
            raise AssertionError

    request = APIRequestFactory().get("/x")
    force_authenticate(request, make_user(Role(role)))
    assert Silent.as_view()(request).status_code == 403
