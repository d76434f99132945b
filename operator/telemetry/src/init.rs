//! Sets the process-wide subscriber, once. It may not decide what is logged, only where it goes.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The variable that switches span export on; its value is the collector's address.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The variable with the log filter, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER: &str = "TERRACE_LOG";
/// Used when the variable is unset or cannot be parsed.
const DEFAULT_FILTER: &str = "info";

/// How a log record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, spans, fields, message.
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter refused its configuration; the address is usually malformed.
    #[error("build the span exporter for {ENDPOINT}")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// Something else in this process set a subscriber first.
    #[error("set the subscriber")]
    Subscriber(#[source] TryInitError),
}

/// Holds the span exporter. Hand it to the end of `main` and call [`Telemetry::shutdown`].
#[derive(Debug)]
#[must_use = "spans are lost unless shutdown is called"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends what is still buffered. A collector that is gone is no reason to fail the exit.
    pub fn shutdown(self) {
        let Self { provider } = self;
        if let Some(Err(error)) = provider.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "spans not yet sent are lost");
        }
    }
}

/// Sets logging and, if a collector is configured, tracing for the service named `service`.
///
/// # Assumptions
/// Runs inside a tokio runtime (the exporter's channel lives on it) and once a process.
///
/// # Errors
/// [`Error`], if the collector's address is malformed or a subscriber is set already.
pub fn init(service: &'static str, format: LogFormat) -> Result<Telemetry, Error> {
    let provider = match std::env::var_os(ENDPOINT) {
        Some(value) if !value.is_empty() => Some(exporting(service)?),
        Some(_) | None => None,
    };
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service)));
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| DEFAULT_FILTER.into());
    Registry::default()
        .with(spans)
        .with(lines(format))
        .with(filter)
        .try_init()
        .map_err(Error::Subscriber)?;
    Ok(Telemetry { provider })
}

fn exporting(service: &'static str) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder().with_tonic().build().map_err(Error::Exporter)?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}
