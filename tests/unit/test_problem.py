"""How errors become statuses, codes and field paths."""

from __future__ import annotations

import pytest
from rest_framework.exceptions import ValidationError

from devops_manager.access.actors import narrower_role
from devops_manager.access.models import Role
from devops_manager.lib import errors
from devops_manager.lib.pagination import parse_page
from devops_manager.lib.problem import exception_handler, field_paths, status_of


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidInput, 400),
        (errors.Unauthenticated, 401),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (errors.Conflict, 409),
        (errors.TooLarge, 413),
        (errors.LimitReached, 429),
        (errors.Unavailable, 503),
    ],
)
def test_each_kind_of_error_has_one_status(kind: type[errors.DomainError], status: int) -> None:
    assert status_of(kind("no")) == status
    response = exception_handler(kind("no", fields={"a.b": ["wrong"]}), {})
    assert response is not None
    assert response.data["code"] == kind.code
    assert response.data["errors"] == {"a.b": ["wrong"]}
    assert ("Retry-After" in response) == (status in {429, 503})


def test_every_domain_error_is_mapped() -> None:
    kinds = errors.DomainError.__subclasses__()
    assert all(status_of(kind("no")) != 400 for kind in kinds if kind is not errors.InvalidInput)


def test_a_defect_is_left_to_django() -> None:
    assert exception_handler(KeyError("x"), {}) is None


def test_nested_errors_are_named_by_full_path() -> None:
    detail = ValidationError(
        {
            "name": ["empty"],
            "commands": [{}, {"body": ["empty"], "environment": {"A": ["no text"]}}],
            "target": {"non_field_errors": ["empty"]},
            "tags": {1: ["too long"]},
            "non_field_errors": ["of the whole"],
        }
    ).detail
    assert field_paths(detail) == {
        "name": ["empty"],
        "commands[1].body": ["empty"],
        "commands[1].environment.A": ["no text"],
        "target": ["empty"],
        "tags[1]": ["too long"],
        "body": ["of the whole"],
    }
    assert field_paths(ValidationError([{}, {"name": ["empty"]}]).detail) == {"[1].name": ["empty"]}


@pytest.mark.parametrize("one", Role)
@pytest.mark.parametrize("other", Role)
def test_the_narrower_of_two_roles_allows_what_both_allow(one: Role, other: Role) -> None:
    rights = {
        Role.VIEWER: {"read"},
        Role.OPERATOR: {"read", "operate"},
        Role.APPROVER: {"read", "approve"},
        Role.ADMIN: {"read", "operate", "approve", "administer"},
    }
    assert rights[narrower_role(one, other)] == rights[one] & rights[other]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"page": "0"}, "page"),
        ({"page": "-1"}, "page"),
        ({"page": "x"}, "page"),
        ({"page": "1.5"}, "page"),
        ({"page": "²"}, "page"),
        ({"page": "99999999999"}, "page"),
        ({"size": "0"}, "size"),
        ({"size": "201"}, "size"),
        ({"size": " 5"}, "size"),
    ],
)
def test_a_wrong_page_is_refused_by_name(parameters: dict[str, str], field: str) -> None:
    with pytest.raises(errors.InvalidInput) as raised:
        parse_page(parameters)
    assert list(raised.value.fields) == [field]


def test_a_page_has_twenty_rows_unless_asked() -> None:
    assert parse_page({}).size == 20
    assert parse_page({"page": "3", "size": "50"}).offset == 100


def test_errors_beyond_what_an_answer_names_are_not_flattened() -> None:
    detail = ValidationError({f"k{no}": ["wrong"] for no in range(5000)}).detail
    assert len(field_paths({"a": detail, "b": detail})) == 101
