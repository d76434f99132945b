//! The page of metrics in the three forms that Prometheus asks for: protobuf (the only one with native histograms), OpenMetrics
//! text, and the text of old. Which one is decided by the request's `Accept`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet,
    prometheus_protobuf, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::{Family, Histogram, Unit, Value};
use crate::metrics_histogram::{SCHEMA, ZERO_THRESHOLD, spans};
use crate::metrics_text::page;

/// A form of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`.
    Text,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
    /// Length-delimited `io.prometheus.client.MetricFamily`.
    Protobuf,
}

impl Format {
    /// What the answer's `Content-Type` says.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The form that a request prefers; the old text for one that does not say or asks for none of ours.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let mut best = (0.0, Self::Text);
        for entry in accept.split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.collect();
            let weight = parameters.iter().find_map(|part| part.strip_prefix("q="));
            let weight: f64 = weight.and_then(|weight| weight.parse().ok()).unwrap_or(1.0);
            let Some(format) = Self::of(kind, &parameters) else { continue };
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    fn of(kind: &str, parameters: &[&str]) -> Option<Self> {
        let is_delimited = || parameters.contains(&"encoding=delimited");
        match kind {
            "application/vnd.google.protobuf" if is_delimited() => Some(Self::Protobuf),
            "application/openmetrics-text" => Some(Self::OpenMetrics),
            "text/plain" | "*/*" | "text/*" => Some(Self::Text),
            _ => None,
        }
    }
}

/// The page.
///
/// # Errors
/// None is known: it is written into memory.
pub fn encode(families: Vec<Family>, format: Format) -> Result<Vec<u8>, fmt::Error> {
    if format == Format::Text {
        return Ok(page(&families).into_bytes());
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::new(Families(families))));
    match format {
        Format::Protobuf => prometheus_protobuf::encode_to_vec(&registry).map_err(|_| fmt::Error),
        Format::OpenMetrics | Format::Text => {
            let mut out = String::new();
            text::encode(&mut out, &registry)?;
            Ok(out.into_bytes())
        }
    }
}

/// A family's name with its unit; `_total` comes on top for counters.
#[must_use]
pub fn full_name(family: &Family) -> String {
    let unit = match family.unit {
        Unit::None => "",
        Unit::Seconds => "_seconds",
        Unit::Milliseconds => "_ms",
        Unit::Bytes => "_bytes",
        Unit::Ratio => "_ratio",
    };
    format!("{}{unit}", family.name)
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let kind = match family.rows.first() {
                Some((_, Value::Counter(_) | Value::Spent(_))) => MetricType::Counter,
                Some((_, Value::Histogram(_))) => MetricType::Histogram,
                Some((_, Value::Gauge(_))) | None => MetricType::Gauge,
            };
            let name = full_name(family);
            let help = format!("{}.", family.help);
            let mut metric = encoder.encode_descriptor(&name, &help, None, kind)?;
            for (labels, value) in &family.rows {
                encode_value(metric.encode_family(labels)?, value)?;
            }
        }
        Ok(())
    }
}

fn encode_value(mut row: MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Counter(count) => row.encode_counter::<NoLabelSet, _, f64>(count, None),
        Value::Spent(spent) => row.encode_counter::<NoLabelSet, _, f64>(spent, None),
        Value::Gauge(value) => row.encode_gauge(value),
        Value::Histogram(histogram) => encode_histogram(row, histogram),
    }
}

fn encode_histogram(mut row: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let Histogram { count, sum, classic, sparse } = histogram;
    if sparse.is_empty() {
        return row.encode_histogram::<NoLabelSet>(*sum, *count, classic, None);
    }
    let (spans, deltas) = spans(sparse);
    let native = NativeHistogram {
        schema: SCHEMA,
        zero_threshold: ZERO_THRESHOLD,
        zero_count: 0,
        negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
        positive: NativeHistogramBuckets { spans: &spans, deltas: &deltas },
        created: None,
    };
    row.encode_histogram_with_native::<NoLabelSet>(*sum, *count, classic, None, native)
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn prometheus_gets_what_it_prefers() {
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                      application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                      application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Format::wanted(native), Format::Protobuf);
        let usual = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(Format::wanted(usual), Format::OpenMetrics);
    }

    #[test]
    fn whoever_says_nothing_or_asks_for_something_else_gets_text() {
        for accept in
            ["", "*/*", "text/html", "application/vnd.google.protobuf;encoding=text", "text/plain"]
        {
            assert_eq!(Format::wanted(accept), Format::Text, "{accept}");
        }
        assert_eq!(
            Format::wanted("application/openmetrics-text;q=0.1, text/plain;q=0.9"),
            Format::Text
        );
    }
}
