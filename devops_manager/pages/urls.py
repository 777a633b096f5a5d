"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from devops_manager.pages.views import (
    account,
    enrolment,
    groups,
    hosts,
    overview,
    people,
    task_acts,
    task_edit,
    task_output,
    tasks,
    tokens,
)

_TASK = "tasks/<uuid:task_id>"
_HOST = "hosts/<uuid:host_id>"
_GROUP = "groups/<uuid:group_id>"
_PERSON = "people/<int:person_id>"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("favicon.ico", overview.icon, name="icon"),
    path("login", account.SignIn.as_view(), name="login"),
    path("logout", account.sign_out, name="logout"),
    path("password", account.ChangePassword.as_view(), name="password_change"),
    path("language", account.set_language, name="set_language"),
    path("tasks", tasks.task_list_page, name="task_list"),
    path("tasks/new", task_edit.new, name="task_new"),
    path("tasks/preview", task_edit.preview, name="task_preview"),
    path("tasks/pick/<slug:name>", task_edit.pick_hosts, name="task_pick_hosts"),
    path(_TASK, tasks.detail, name="task_detail"),
    path(f"{_TASK}/steps", tasks.steps, name="task_steps"),
    path(f"{_TASK}/output", task_output.groups, name="task_output"),
    path(f"{_TASK}/trail", tasks.trail, name="task_trail"),
    path(f"{_TASK}/edit", task_edit.edit, name="task_edit"),
    path(f"{_TASK}/delete", task_edit.delete, name="task_delete"),
    path(f"{_TASK}/start", task_acts.start, name="task_start"),
    path(f"{_TASK}/stop", task_acts.stop, name="task_stop"),
    path(f"{_TASK}/cancel", task_acts.cancel, name="task_cancel"),
    path(f"{_TASK}/{_HOST}", task_output.host, name="task_host"),
    path(
        f"{_TASK}/{_HOST}/<uuid:command_id>/<slug:stream>",
        task_output.stream_file,
        name="task_stream",
    ),
    path("hosts", hosts.host_list, name="host_list"),
    path("hosts/approve", hosts.host_approve, name="host_approve"),
    path("hosts/reject", hosts.host_reject, name="host_reject"),
    path(_HOST, hosts.host_detail, name="host_detail"),
    path(f"{_HOST}/change", hosts.host_change, name="host_change"),
    path(f"{_HOST}/disable", hosts.host_disable, name="host_disable"),
    path(f"{_HOST}/enable", hosts.host_enable, name="host_enable"),
    path(f"{_HOST}/release", hosts.host_release, name="host_release"),
    path(f"{_HOST}/replace/<uuid:replaced_id>", hosts.host_replace, name="host_replace"),
    path(f"{_HOST}/retire", hosts.host_retire, name="host_retire"),
    path(f"{_HOST}/revoke", hosts.host_revoke, name="host_revoke"),
    path(f"{_HOST}/unretire", hosts.host_unretire, name="host_unretire"),
    path("groups", groups.group_list, name="group_list"),
    path(_GROUP, groups.group_detail, name="group_detail"),
    path(f"{_GROUP}/change", groups.group_change, name="group_change"),
    path(f"{_GROUP}/delete", groups.group_delete, name="group_delete"),
    path(f"{_GROUP}/add-hosts", groups.group_add_hosts, name="group_add_hosts"),
    path(f"{_GROUP}/remove-hosts", groups.group_remove_hosts, name="group_remove_hosts"),
    path(f"{_GROUP}/grant", groups.group_grant, name="group_grant"),
    path(f"{_GROUP}/revoke", groups.group_revoke, name="group_revoke"),
    path("people", people.people, name="people"),
    path(_PERSON, people.person_detail, name="person_detail"),
    path(f"{_PERSON}/change", people.person_change, name="person_change"),
    path(f"{_PERSON}/deactivate", people.person_deactivate, name="person_deactivate"),
    path(f"{_PERSON}/reactivate", people.person_reactivate, name="person_reactivate"),
    path(f"{_PERSON}/reset", people.person_reset, name="person_reset"),
    path(f"{_PERSON}/grant", people.person_grant, name="person_grant"),
    path(f"{_PERSON}/revoke", people.person_revoke, name="person_revoke"),
    path("enrolment", enrolment.enrollment_tokens, name="enrollment_tokens"),
    path(
        "enrolment/<uuid:token_id>/revoke",
        enrolment.enrollment_token_revoke,
        name="enrollment_token_revoke",
    ),
    path("tokens", tokens.api_tokens, name="api_tokens"),
    path("tokens/<uuid:token_id>/revoke", tokens.api_token_revoke, name="api_token_revoke"),
]
