//! The metrics as OTLP has them: OpenTelemetry's names and attributes, cumulative, histograms exponential at scale 5. Pure.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Histogram as ClassicHistogram;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::metrics::{Family, Histogram, Labels, Unit, Value};
use crate::metrics_histogram::{SCHEMA, ZERO_THRESHOLD};

/// When counting began and when this was looked at, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Begin.
    pub start: u64,
    /// Now.
    pub now: u64,
}

/// Everything as one request.
#[must_use]
pub fn request(families: &[Family], node: &str, span: Span) -> ExportMetricsServiceRequest {
    let metrics = families.iter().map(|family| metric(family, span)).collect();
    let scope = ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() };
    let resource = ResourceMetrics {
        resource: Some(resource(node)),
        scope_metrics: vec![scope],
        schema_url: String::new(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

/// Who says it.
#[must_use]
pub fn resource(node: &str) -> Resource {
    let attributes =
        vec![attribute("service.name", "terrace-probe"), attribute("k8s.node.name", node)];
    Resource { attributes, ..Resource::default() }
}

/// Which part of it says it.
#[must_use]
pub fn scope() -> InstrumentationScope {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    InstrumentationScope { name: "terrace-probe".to_owned(), version, ..Default::default() }
}

/// A text.
#[must_use]
pub fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn metric(family: &Family, span: Span) -> Metric {
    let name = match family.otel {
        "" => family.name.replacen('_', ".", 2),
        name => name.to_owned(),
    };
    let unit = match family.unit {
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::Bytes => "By",
        Unit::None if family.name.ends_with("_bytes") => "By",
        Unit::None | Unit::Ratio => "1",
    };
    Metric {
        name,
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: data(family, span),
        ..Metric::default()
    }
}

fn data(family: &Family, span: Span) -> Option<Data> {
    let temporality = AggregationTemporality::Cumulative.into();
    let numbers = || family.rows.iter().filter_map(|row| number(row, span)).collect();
    let all = family.rows.iter();
    Some(match &family.rows.first()?.1 {
        Value::Gauge(_) => Data::Gauge(Gauge { data_points: numbers() }),
        Value::Counter(_) | Value::Spent(_) => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Value::Histogram(first) if first.sparse.is_empty() && first.count > 0 => {
            Data::Histogram(ClassicHistogram {
                data_points: all.filter_map(|row| classic(row, span)).collect(),
                aggregation_temporality: temporality,
            })
        }
        Value::Histogram(_) => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: all.filter_map(|row| exponential(row, span)).collect(),
            aggregation_temporality: temporality,
        }),
    })
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let named = labels.iter().map(|(name, value)| {
        let name = match *name {
            "namespace" => "k8s.namespace.name",
            "persistentvolumeclaim" => "k8s.persistentvolumeclaim.name",
            "persistentvolume" => "k8s.persistentvolume.name",
            "storageclass" => "k8s.storageclass.name",
            "pod" => "k8s.pod.name",
            "direction" => "disk.io.direction",
            "device" => "system.device",
            "error" => "error.type",
            other => other,
        };
        attribute(name, value)
    });
    named.collect()
}

fn number((labels, value): &(Labels, Value), span: Span) -> Option<NumberDataPoint> {
    let number = match value {
        Value::Counter(count) => Number::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
        Value::Spent(value) | Value::Gauge(value) => Number::AsDouble(*value),
        Value::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(number),
        ..NumberDataPoint::default()
    })
}

fn exponential(
    (labels, value): &(Labels, Value),
    span: Span,
) -> Option<ExponentialHistogramDataPoint> {
    let Value::Histogram(Histogram { count, sum, classic: _, sparse }) = value else { return None };
    Some(ExponentialHistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count: *count,
        sum: Some(*sum),
        scale: SCHEMA,
        positive: Some(dense(sparse)),
        zero_threshold: ZERO_THRESHOLD,
        ..ExponentialHistogramDataPoint::default()
    })
}

/// OTLP's bucket `i` begins where Prometheus' `i` ends, and there are no gaps.
fn dense(sparse: &[(i32, u64)]) -> Buckets {
    let (Some((first, _)), Some((last, _))) = (sparse.first(), sparse.last()) else {
        return Buckets::default();
    };
    let length = usize::try_from(last - first + 1).unwrap_or(0);
    let mut bucket_counts = vec![0; length];
    for (index, count) in sparse {
        if let Some(place) =
            usize::try_from(index - first).ok().and_then(|at| bucket_counts.get_mut(at))
        {
            *place += count;
        }
    }
    Buckets { offset: first - 1, bucket_counts }
}

fn classic((labels, value): &(Labels, Value), span: Span) -> Option<HistogramDataPoint> {
    let Value::Histogram(Histogram { count, sum, classic, sparse: _ }) = value else { return None };
    let bounds = classic.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite());
    Some(HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count: *count,
        sum: Some(*sum),
        explicit_bounds: bounds.collect(),
        bucket_counts: classic.iter().map(|(_, count)| *count).collect(),
        ..HistogramDataPoint::default()
    })
}
