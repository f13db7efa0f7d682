//! Labels that a resource and a scope give to all of their series.
//!
//! Source: Prometheus 3.14 `storage/remote/otlptranslator/prometheusremotewrite` (`setResourceContext`,
//! `setScopeContext`); OpenTelemetry's "Prometheus and OpenMetrics Compatibility".

use super::options::TranslateOptions;
use super::values::render;
use super::warnings::{Category, Warnings};
use crate::ingest::otlp::model::{AnyValue, KeyValue, Resource, Scope};

/// The attributes that say who sends; `job` and `instance` are made of them.
pub(super) const SERVICE_NAMESPACE: &str = "service.namespace";
pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_INSTANCE: &str = "service.instance.id";

/// The most labels that a resource or a scope gives: as many as a series may be allowed to have.
const LABELS_MAX: usize = 10_000;

/// A label's name and value.
pub(super) type Pair = (String, String);

/// Labels that are not the point's own, each list sorted by name.
#[derive(Debug, Default)]
pub(super) struct SharedLabels {
    /// Those that hide an attribute of their name. An empty value takes the label away.
    pub(super) over: Vec<Pair>,
    /// Those that an attribute of their name hides, unless its value is empty.
    pub(super) under: Vec<Pair>,
}

/// What all points of a resource have in common.
#[derive(Debug, Default)]
pub(super) struct ResourceLabels {
    /// `job` and `instance`.
    pub(super) identity: Vec<Pair>,
    /// Promoted attributes.
    pub(super) promoted: Vec<Pair>,
    /// Why points of the resource can't be stored.
    pub(super) fault: Option<String>,
}

/// A value as a label has it.
pub(super) fn text_of(value: &AnyValue<'_>) -> String {
    let mut out = Vec::new();
    render(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

fn find<'r>(attributes: &'r [KeyValue<'_>], key: &str) -> Option<&'r AnyValue<'r>> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}

/// Sets a label; gives whether it replaced another value.
pub(super) fn set(labels: &mut Vec<Pair>, name: String, value: String) -> bool {
    match labels.binary_search_by(|(other, _)| other.as_str().cmp(&name)) {
        Ok(at) => labels.get_mut(at).is_some_and(|label| !std::mem::replace(&mut label.1, value).is_empty()),
        Err(at) => {
            labels.insert(at, (name, value));
            false
        }
    }
}

impl ResourceLabels {
    /// Prepares the labels of a resource.
    pub(super) fn new(resource: &Resource<'_>, options: &TranslateOptions, warnings: &mut Warnings) -> Self {
        let attributes = &resource.attributes;
        let mut labels = ResourceLabels::default();
        if let Some(name) = find(attributes, SERVICE_NAME) {
            let namespace = find(attributes, SERVICE_NAMESPACE).map(|space| text_of(space) + "/").unwrap_or_default();
            set(&mut labels.identity, "job".to_owned(), namespace + &text_of(name));
        }
        if let Some(instance) = find(attributes, SERVICE_INSTANCE) {
            set(&mut labels.identity, "instance".to_owned(), text_of(instance));
        }
        labels.identity.retain(|(_, value)| !value.is_empty());
        for attribute in attributes.iter().filter(|attribute| options.promotion.takes(&attribute.key)) {
            if labels.promoted.len() >= LABELS_MAX {
                labels.promoted.clear();
                labels.fault = Some(format!("more than {LABELS_MAX} attributes of the resource become labels"));
                break;
            }
            match options.label_naming().name(&attribute.key) {
                Ok(name) => {
                    let name = name.into_owned();
                    if set(&mut labels.promoted, name.clone(), text_of(&attribute.value)) {
                        warnings.add_once(Category::LabelNameCollision, &name, || {
                            format!(
                                "several promoted resource attributes become the label {name:?}; the last one stays"
                            )
                        });
                    }
                }
                Err(fault) => labels.fault = Some(format!("promoted resource attribute: {fault}")),
            }
        }
        labels.promoted.retain(|(_, value)| !value.is_empty());
        labels
    }
}

/// The labels of a scope, sorted by name; why its points can't be stored, if they can't.
pub(super) fn scope_labels(
    scope: &Scope<'_>,
    options: &TranslateOptions,
    warnings: &mut Warnings,
) -> Result<Vec<Pair>, String> {
    let mut labels = Vec::new();
    if !options.promote_scope_metadata || scope.name.is_empty() {
        return Ok(labels);
    }
    for attribute in &scope.attributes {
        if labels.len() >= LABELS_MAX {
            return Err(format!("more than {LABELS_MAX} attributes of the scope become labels"));
        }
        let name = format!("otel_scope_{}", attribute.key);
        let name =
            options.label_naming().name(&name).map_err(|fault| format!("scope attribute: {fault}"))?.into_owned();
        let value = text_of(&attribute.value);
        if !value.is_empty() && set(&mut labels, name.clone(), value) {
            warnings.add_once(Category::LabelNameCollision, &name, || {
                format!("several scope attributes become the label {name:?}; the last one stays")
            });
        }
    }
    for (name, value) in [("name", &scope.name), ("version", &scope.version), ("schema_url", &scope.schema_url)] {
        let name = format!("otel_scope_{name}");
        if set(&mut labels, name.clone(), value.clone().into_owned()) {
            warnings.add_once(Category::LabelNameCollision, &name, || {
                format!("a scope attribute becomes the label {name:?} and is hidden by the scope's own")
            });
        }
    }
    Ok(labels)
}
