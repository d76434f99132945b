//! The page of a node with volumes: names, labels, budget, and that its three forms say the same.

use std::collections::BTreeMap;

use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
use prost::Message;
use terrace_probe_abi::layout::{Figures, OperationFigures, SharedClass, bucket_of};

use super::{Value, families};
use crate::class::Bounds;
use crate::loader::{BlockFigures, Switch};
use crate::metrics_page::{Format, encode};
use crate::metrics_view::{Group, Own, View, VolumeView};
use crate::metrics_volume::BUDGET;

/// Figures in which everything that can happen has.
pub(crate) fn busy() -> Box<Figures> {
    let mut one = OperationFigures::ZERO;
    for ns in [700, 90_000, 9_000_000, 11_000_000, 120_000_000, 20_000_000_000] {
        one.buckets[bucket_of(ns)] += 1;
        one.sum_ns += ns;
    }
    (one.bytes, one.slow, one.cached, one.sizes) = (4096 * 6, 3, 2, [6, 0, 0, 0]);
    Box::new([one.clone(), one.clone(), one.clone(), one])
}

pub(crate) fn view(volumes: usize, asked_names: Switch) -> View {
    let volume = |number: usize| VolumeView {
        namespace: "bank".into(),
        claim: format!("data-{number}"),
        pv_name: format!("pvc-{number}"),
        pods: vec!["a".into(), "b".into()],
        figures: busy(),
        block: BlockFigures { queue: busy()[0].clone(), device: busy()[0].clone() },
        ..VolumeView::default()
    };
    let class = |class| (Group::Class(class), busy());
    View {
        volumes: (0..volumes).map(volume).collect(),
        groups: vec![class(SharedClass::CriticalEtcd), class(SharedClass::ConfigMap)],
        own: Own::default(),
        asked_names,
        bounds: Bounds::default(),
    }
}

fn text(view: &View) -> String {
    String::from_utf8(encode(families(view), Format::Text).unwrap()).unwrap()
}

#[test]
fn a_claim_has_at_most_sixteen_rows() {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    let mut classic = 0;
    for family in families(&view(3, Switch::On)) {
        for (labels, value) in &family.rows {
            let claim = labels.iter().find(|(name, _)| *name == "persistentvolumeclaim");
            let Some((_, claim)) = claim else { continue };
            *rows.entry(claim.clone()).or_default() += 1;
            classic += match value {
                Value::Histogram(histogram) => histogram.classic.len() + 2,
                Value::Counter(_) | Value::Spent(_) | Value::Gauge(_) => 1,
            };
        }
    }
    assert_eq!(rows.len(), 3);
    assert!(rows.values().all(|count| *count <= BUDGET), "{rows:?}");
    assert!(classic / 3 <= 80, "{} series in text", classic / 3);
}

#[test]
fn names_and_labels_are_those_that_were_agreed() {
    let page = text(&view(1, Switch::Off));
    for line in [
        "terrace_volume_operation_duration_seconds_count{namespace=\"bank\",persistentvolumeclaim=\"data-0\",operation=\"fsync\"} 6",
        "terrace_volume_operation_duration_seconds_bucket{namespace=\"bank\",persistentvolumeclaim=\"data-0\",operation=\"read\",le=\"0.01\"} 3",
        "terrace_volume_operation_duration_seconds_bucket{namespace=\"bank\",persistentvolumeclaim=\"data-0\",operation=\"read\",le=\"+Inf\"} 6",
        "terrace_volume_io_bytes_total{namespace=\"bank\",persistentvolumeclaim=\"data-0\",direction=\"write\"} 24576",
        "terrace_volume_block_duration_seconds_count{namespace=\"bank\",persistentvolumeclaim=\"data-0\",phase=\"queue\"} 6",
        "terrace_volume_cached_operations_total{namespace=\"bank\",persistentvolumeclaim=\"data-0\",operation=\"read\"} 2",
        "terrace_volume_slow_operations_total{namespace=\"bank\",persistentvolumeclaim=\"data-0\",operation=\"readdir\"} 3",
        "terrace_latency_class_operations_total{class=\"critical_etcd\",operation=\"fsync\",latency=\"critical\"} 2",
        "terrace_size_class_operations_total{class=\"pvc\",operation=\"write\",size=\"small\"} 6",
        "terrace_probe_missed_total{reason=\"no_slot\"} 0",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(
        page.contains("persistentvolume=\"pvc-0\"") && page.contains("pod=\"a,b\"} 1"),
        "{page}"
    );
    assert!(!page.contains("operation_errors") && !page.contains("storage_io"), "{page}");
}

#[test]
fn the_five_names_that_were_asked_for_are_there_when_wanted() {
    let page = text(&view(1, Switch::On));
    for line in [
        "storage_io_events_processed_total 0",
        "storage_io_slow_operations_total{operation=\"read\"} 9",
        "storage_io_latency_ms_bucket{operation=\"read\",le=\"10\"} 9",
        "storage_io_vfs_operations_total{operation=\"write\"} 18",
        "storage_io_k8s_volume_operations_total{volume_type=\"pvc\",operation=\"write\"} 6",
        "storage_io_k8s_volume_operations_total{volume_type=\"configmap\",operation=\"read\"} 6",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("volume_type=\"critical_etcd\""), "{page}");
}

#[test]
fn an_error_has_a_row_from_its_first_on() {
    let mut view = view(1, Switch::Off);
    view.volumes[0].figures[1].errors[0] = 2;
    let page = text(&view);
    let line = "terrace_volume_operation_errors_total{namespace=\"bank\",persistentvolumeclaim=\"data-0\",operation=\"write\",error=\"eio\"} 2";
    assert!(page.contains(line), "{page}");
}

#[test]
fn protobuf_says_the_same_and_has_native_histograms() {
    let view = view(2, Switch::On);
    let bytes = encode(families(&view), Format::Protobuf).unwrap();
    let (mut rest, mut read) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        read.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    let page = text(&view);
    for family in &read {
        assert!(page.contains(&format!("# TYPE {} ", family.name)), "{}", family.name);
    }
    let named = |name: &str| read.iter().find(|family| family.name == name).unwrap();
    let durations = named("terrace_volume_operation_duration_seconds");
    assert_eq!(durations.metric.len(), 8);
    let histogram = durations.metric[0].histogram.as_ref().unwrap();
    assert_eq!(
        (histogram.schema, histogram.sample_count, histogram.positive_delta.len()),
        (5, 6, 6)
    );
    assert_eq!(histogram.bucket.len(), 9);
    let alias = named("storage_io_latency_ms").metric[0].histogram.as_ref().unwrap();
    assert!(alias.positive_span.is_empty() && !alias.bucket.is_empty());
}

#[test]
fn openmetrics_ends_as_it_should() {
    let page = encode(families(&view(1, Switch::On)), Format::OpenMetrics).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert!(page.contains("terrace_volume_io_bytes_total{"), "{page}");
}

#[test]
fn a_label_is_escaped() {
    let mut view = view(1, Switch::Off);
    view.volumes[0].filesystem = "a\"b\\c\n".into();
    assert!(text(&view).contains(r#"fstype="a\"b\\c\n""#));
}
