//! Every way in which a schema can refuse a value, read from the definitions themselves.
//! A constraint found here without a bad example is a fault of the examples (`tests/crds.rs`).

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// One constraint: the kind, where it holds, and what the API server says when it is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {
    /// The kind.
    pub kind: String,
    /// Path of the field, with `[]` for any item.
    pub path: String,
    /// Words of the API server's answer.
    pub says: String,
}

/// Every constraint of the spec of `crd`. Status is left out: its only writers are our own programs, whose types are closed.
pub fn constraints(crd: &CustomResourceDefinition) -> BTreeSet<Constraint> {
    let mut found = BTreeSet::new();
    let schemas = crd.spec.versions.iter().filter_map(|version| version.schema.as_ref());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_ref()) {
        let spec = schema.properties.as_ref().and_then(|fields| fields.get("spec"));
        if let Some(spec) = spec {
            visit(&crd.spec.names.kind, "spec", spec, &mut found);
        }
    }
    found
}

/// A path as the API server prints it, with `[]` for every index.
pub fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for letter in text.chars() {
        inside = (inside && letter.is_ascii_digit()) || letter == '[';
        if !(inside && letter.is_ascii_digit()) {
            out.push(letter);
        }
    }
    out
}

fn visit(kind: &str, path: &str, schema: &JSONSchemaProps, found: &mut BTreeSet<Constraint>) {
    for says in answers(schema) {
        found.insert(Constraint { kind: kind.to_owned(), path: path.to_owned(), says });
    }
    for (name, field) in schema.properties.iter().flatten() {
        visit(kind, &format!("{path}.{name}"), field, found);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        visit(kind, &format!("{path}[]"), item, found);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &schema.additional_properties {
        visit(kind, &format!("{path}.*"), value, found);
    }
}

/// What the API server says of a value that breaks each keyword of `schema`.
fn answers(schema: &JSONSchemaProps) -> Vec<String> {
    let mut says = Vec::new();
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        says.extend(rule.message.clone());
    }
    says.extend(schema.enum_.as_ref().map(|_| "Unsupported value".to_owned()));
    says.extend(schema.max_length.map(|n| format!("may not be more than {n} bytes")));
    says.extend(schema.min_length.map(|n| format!("should be at least {n} chars long")));
    says.extend(schema.max_items.map(|n| format!("must have at most {n} items")));
    says.extend(schema.min_items.map(|n| format!("should have at least {n} items")));
    says.extend(schema.max_properties.map(|n| format!("must have at most {n} items")));
    says.extend(schema.pattern.as_ref().map(|pattern| format!("should match '{pattern}'")));
    says.extend(schema.minimum.map(|n| format!("should be greater than or equal to {n}")));
    says.extend(schema.maximum.map(|n| format!("should be less than or equal to {n}")));
    says
}
