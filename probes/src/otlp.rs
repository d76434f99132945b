//! Pushes to an OpenTelemetry collector: slow operations as logs as they come, metrics at an interval. Away is no error: what
//! cannot be sent now is told again by the next metrics, and logs that find no room are counted.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use tonic::transport::{Channel, Endpoint};

use crate::metrics::families;
use crate::metrics_view::View;
use crate::otlp_metrics::{Span, attribute, request, resource, scope};
use crate::slow::SlowEvent;
use crate::slow_buffer::Buffer;

/// What the collector gets to answer in.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events of one request at most.
const BATCH: usize = 512;
/// After a failure, until the next try.
const PAUSE: Duration = Duration::from_secs(5);

/// The address is no address.
#[derive(Debug, thiserror::Error)]
#[error("{address} is no address of a collector")]
pub struct Error {
    address: String,
    source: tonic::transport::Error,
}

/// A collector.
#[derive(Clone, Debug)]
pub struct Collector {
    channel: Channel,
    node: String,
}

impl Collector {
    /// Connects when there is something to send. Needs a runtime around it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(address: &str, node: &str) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(address.to_owned());
        let endpoint = endpoint.map_err(|source| Error { address: address.to_owned(), source })?;
        let channel = endpoint.timeout(PATIENCE).connect_timeout(PATIENCE).connect_lazy();
        Ok(Self { channel, node: node.to_owned() })
    }

    /// Sends the metrics of a moment.
    ///
    /// # Errors
    /// As the collector says.
    pub async fn send_metrics(&self, view: &View, span: Span) -> Result<(), tonic::Status> {
        let request = request(&families(view), &self.node, span);
        MetricsServiceClient::new(self.channel.clone()).export(request).await.map(drop)
    }

    /// Sends events as they come, for ever. A batch that the collector does not take is tried again once.
    pub async fn send_events(self, buffer: Arc<Buffer<SlowEvent>>) {
        loop {
            buffer.filled().await;
            let batch = buffer.take(BATCH);
            let request = logs(&batch, &self.node);
            let mut client = LogsServiceClient::new(self.channel.clone());
            if client.export(request.clone()).await.is_ok() {
                continue;
            }
            tokio::time::sleep(PAUSE).await;
            if let Err(status) = client.export(request).await {
                tracing::warn!(%status, events = batch.len(), "slow operations did not reach the collector");
            }
        }
    }
}

/// Events as one request.
#[must_use]
pub fn logs(events: &[Arc<SlowEvent>], node: &str) -> ExportLogsServiceRequest {
    let log_records = events.iter().map(|event| log(event)).collect();
    let scope = ScopeLogs { scope: Some(scope()), log_records, schema_url: String::new() };
    let resource = ResourceLogs {
        resource: Some(resource(node)),
        scope_logs: vec![scope],
        schema_url: String::new(),
    };
    ExportLogsServiceRequest { resource_logs: vec![resource] }
}

fn log(event: &SlowEvent) -> LogRecord {
    let path = event.path.as_deref().unwrap_or("a file");
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let milliseconds = event.duration_ns as f64 / 1e6;
    let said = format!("{} of {path} took {milliseconds:.1} ms", event.operation);
    LogRecord {
        time_unix_nano: event.time_unix_nano.saturating_add(event.duration_ns),
        observed_time_unix_nano: event.time_unix_nano.saturating_add(event.duration_ns),
        severity_number: SeverityNumber::Warn.into(),
        severity_text: "WARN".to_owned(),
        body: Some(AnyValue { value: Some(Any::StringValue(said)) }),
        attributes: attributes(event),
        ..LogRecord::default()
    }
}

/// Every field of the event, as its JSON has it; those with an agreed name by that.
fn attributes(event: &SlowEvent) -> Vec<KeyValue> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(event) else {
        return Vec::new();
    };
    let named = fields.into_iter().map(|(key, value)| {
        let key = match key.as_str() {
            "podUid" => "k8s.pod.uid".to_owned(),
            "containerId" => "container.id".to_owned(),
            "namespace" => "k8s.namespace.name".to_owned(),
            "persistentVolume" => "k8s.persistentvolume.name".to_owned(),
            "persistentVolumeClaim" => "k8s.persistentvolumeclaim.name".to_owned(),
            "pid" => "process.pid".to_owned(),
            "command" => "process.command".to_owned(),
            other => format!("terrace.{other}"),
        };
        match value {
            serde_json::Value::String(text) => attribute(&key, &text),
            serde_json::Value::Number(number) => {
                typed(key, Any::IntValue(number.as_i64().unwrap_or(i64::MAX)))
            }
            serde_json::Value::Bool(is) => typed(key, Any::BoolValue(is)),
            other => attribute(&key, &other.to_string()),
        }
    });
    named.collect()
}

fn typed(key: String, value: Any) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
