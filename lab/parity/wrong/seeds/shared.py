"""Glance's and Keystone's operations: what the hub answers alone."""

from lab.parity.wrong.seeds.seed import lists, many

IMAGE = (
    *many("image", None, (
        ("POST", "/v2/images", {"name": "wrong", "disk_format": "raw", "container_format": "bare", "min_disk": 1, "min_ram": 1,
                                "visibility": "private", "protected": False, "tags": ["t"], "os_hidden": False, "k": "v"}, "image"),
        ("PATCH", "/v2/images/{image}", [{"op": "replace", "path": "/name", "value": "wrong"}], ""),
        ("PATCH", "/v2/images/{image}", [{"op": "add", "path": "/k", "value": "v"}, {"op": "remove", "path": "/k"}], ""),
        ("PATCH", "/v2/images/{uuid}", [{"op": "replace", "path": "/min_disk", "value": 1}], ""),
        ("PUT", "/v2/images/{image}/tags/t", None, ""),
        ("DELETE", "/v2/images/{image}/tags/nonesuch", None, ""),
        ("POST", "/v2/images/{image}/members", {"member": "{uuid}"}, ""),
        ("PUT", "/v2/images/{image}/members/{uuid}", {"status": "accepted"}, ""),
        ("POST", "/v2/images/{image}/import", {"method": {"name": "glance-direct"}}, ""),
        ("POST", "/v2/images/{uuid}/import", {"method": {"name": "web-download", "uri": "http://192.0.2.1/x"}}, ""),
        ("POST", "/v2/images/{uuid}/actions/deactivate", None, ""),
        ("GET", "/v2/images/{image}", None, ""),
        ("DELETE", "/v2/images/{uuid}", None, ""),
        ("GET", "/v2/images/{uuid}/file", None, ""),
        ("POST", "/v2/metadefs/namespaces", {"namespace": "WRONG::{run}", "display_name": "n", "visibility": "private"}, ""),
        ("POST", "/v2/tasks", {"type": "import", "input": {"import_from": "http://192.0.2.1/x"}}, ""),
    )),
    *lists("image", None, {
        "/v2/images": "limit marker sort sort_key sort_dir name status visibility owner member_status size_min size_max tag "
                      "os_hidden created_at updated_at protected",
        "/v2/images/{image}/members": "limit",
        "/v2/metadefs/namespaces": "limit marker sort_key visibility",
        "/v2/tasks": "limit marker sort_key type status",
        "/v2/schemas/image": "nonesuch",
    }),
)  # fmt: skip

IDENTITY = (
    *many("identity", None, (
        ("POST", "/auth/tokens", {"auth": {"identity": {"methods": ["token"], "token": {"id": "{uuid}"}},
                                           "scope": {"project": {"id": "{project}"}}}}, "auth.token_issue"),
        ("POST", "/users/{user}/application_credentials",
         {"application_credential": {"name": "wrong", "description": "d", "unrestricted": False}},
         "application_credential.application_credential_create_request_body"),
        ("POST", "/users/{user}/credentials/OS-EC2", {"tenant_id": "{uuid}"}, ""),
        ("POST", "/projects", {"project": {"name": "wrong"}}, "resource.project_create_request_body"),
        ("GET", "/projects/{project}", None, ""),
        ("GET", "/users/{user}", None, ""),
        ("GET", "/users/{user}/projects", None, ""),
        ("POST", "/OS-TRUST/trusts", {"trust": {"trustor_user_id": "{user}", "trustee_user_id": "{uuid}", "impersonation": False,
                                                "project_id": "{project}", "roles": [{"name": "member"}]}},
                                                "trust.trust_create_request_body"),
    )),
    *many("identity", None, (
        ("POST", "/projects", {"project": {"name": "wrong-{run}", "description": "d", "enabled": True, "tags": ["t"],
                                           "options": {}}}, "resource.project_create_request_body"),
        ("PATCH", "/projects/{uuid}", {"project": {"description": "d"}}, "resource.project_update_request_body"),
        ("PUT", "/projects/{uuid}/tags", {"tags": ["a"]}, ""),
        ("POST", "/users", {"user": {"name": "wrong-{run}", "password": "x", "email": "a@b", "enabled": True}},
         "identity.user_create_request"),
        ("PATCH", "/users/{uuid}", {"user": {"description": "d"}}, "identity.user_update_request"),
        ("POST", "/groups", {"group": {"name": "wrong-{run}", "description": "d"}}, "identity.group_create_request_body"),
        ("PUT", "/projects/{project}/users/{uuid}/roles/{uuid}", None, ""),
    ), account="admin"),
    *lists("identity", None, {
        "/projects": "limit marker name enabled domain_id tags not-tags sort_key",
        "/users": "limit marker name enabled domain_id password_expires_at",
        "/role_assignments": "effective user.id scope.project.id include_names group.id",
        "/credentials": "type user_id limit",
    }, account="admin"),
)  # fmt: skip
