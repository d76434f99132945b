//! The W3C `traceparent` of the current span, as text that fits an annotation or a header, and back.
//! It may not make a trace up: no exporter, no text.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The only header this crate carries; `tracestate` is the collector's own business.
const HEADER: &str = "traceparent";

/// The current span's `traceparent`, or `None` when spans are not exported.
#[must_use]
pub fn inject() -> Option<String> {
    let mut headers = HashMap::new();
    let context = tracing::Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut headers);
    headers.remove(HEADER)
}

/// Makes `span` a child of the span named by `traceparent`. Text that does not parse is ignored:
/// a trace is never worth failing a call for.
pub fn with_parent(span: &tracing::Span, traceparent: Option<&str>) {
    let Some(text) = traceparent else { return };
    let headers = HashMap::from([(HEADER.to_owned(), text.to_owned())]);
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    // The only errors are "no exporter" and "span already started": both mean there is no link to make.
    let _ = span.set_parent(parent);
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{inject, with_parent};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traced<T>(story: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), story)
    }

    #[test]
    fn a_child_carries_the_trace_of_its_parent() {
        let carried = traced(|| {
            let span = tracing::info_span!("child");
            with_parent(&span, Some(PARENT));
            span.in_scope(inject)
        });
        let carried = carried.expect("a traced span has a traceparent");
        assert!(carried.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{carried}");
        assert_ne!(carried, PARENT, "the child has a span id of its own");
    }

    #[test]
    fn garbage_as_parent_starts_a_new_trace() {
        let carried = traced(|| {
            let span = tracing::info_span!("child");
            with_parent(&span, Some("not a traceparent"));
            span.in_scope(inject)
        });
        let carried = carried.expect("a traced span has a traceparent");
        assert!(!carried.contains("0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn without_an_exporter_there_is_no_traceparent() {
        let subscriber = tracing_subscriber::registry();
        let carried = tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("alone");
            with_parent(&span, Some(PARENT));
            span.in_scope(inject)
        });
        assert_eq!(carried, None);
    }
}
