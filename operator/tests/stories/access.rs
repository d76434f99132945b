//! What the operator may ask of the API server: the same table from which the chart's RBAC is rendered. The
//! server in memory refuses the rest, so a call that the real one would forbid fails here first.

use http::Method;
use terrace_crds::access::{Permission, ROLES};

/// Whether the operator's role grants this request.
pub(crate) fn is_granted(method: &Method, path: &str, query: &str) -> bool {
    let (group, resource, named) = parse(path);
    let verb = match (method, named) {
        (&Method::GET, true) => "get",
        (&Method::GET, false) if query.contains("watch=true") => "watch",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        _ => return false,
    };
    let role = ROLES.iter().find(|role| role.name == "terrace-operator").expect("its role");
    let grants = |permission: &&Permission| {
        let Permission { group: of, resources, verbs, scope: _, reason: _ } = permission;
        *of == group && resources.contains(&resource.as_str()) && verbs.contains(&verb)
    };
    role.permissions.iter().any(|permission| grants(&permission))
}

/// Group, resource with its subresource, and whether one object is named.
fn parse(path: &str) -> (&str, String, bool) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => ("", &[][..]),
    };
    match rest {
        ["namespaces", _, kind, _, part] => (group, format!("{kind}/{part}"), true),
        ["namespaces", _, kind, _] => (group, (*kind).to_owned(), true),
        ["namespaces", _, kind] => (group, (*kind).to_owned(), false),
        [kind, _, part] => (group, format!("{kind}/{part}"), true),
        [kind, _] => (group, (*kind).to_owned(), true),
        [kind] => (group, (*kind).to_owned(), false),
        _ => (group, String::new(), false),
    }
}

#[test]
fn what_no_code_needs_is_not_granted() {
    let granted = |method, path| is_granted(&method, path, "");
    let volume = "/apis/terrace.storage/v1alpha1/storagevolumes/a";
    assert!(granted(Method::DELETE, volume));
    assert!(!granted(Method::PUT, volume), "volumes are patched, never replaced");
    assert!(!granted(Method::DELETE, "/api/v1/persistentvolumes/a"));
    let claim = "/api/v1/namespaces/shop/persistentvolumeclaims/a";
    assert!(granted(Method::PATCH, claim) && !granted(Method::DELETE, claim), "a person's to end");
    assert!(!granted(Method::PATCH, "/apis/terrace.storage/v1alpha1/storagenodes/a"));
    assert!(!granted(Method::GET, "/api/v1/persistentvolumeclaims"), "a claim is read by its name");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/terrace-system/leases/l";
    assert!(granted(Method::PUT, lease) && !granted(Method::PATCH, lease));
}
