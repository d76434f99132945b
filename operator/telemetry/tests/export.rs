//! Spans really leave: a process that is told of a collector sends them there, as children of the trace that it
//! was handed. The collector is a gRPC server on loopback; the process is this test, started once more.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use terrace_telemetry::{LogFormat, init, inject, with_parent};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

const STORY: &str = "a_process_told_of_a_collector_sends_its_spans_there";
/// Set for the process that sends.
const SENDER: &str = "TERRACE_TEST_SENDS_SPANS";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Collector {
    arrived: mpsc::UnboundedSender<ExportTraceServiceRequest>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let sent = self.arrived.send(request.into_inner());
        sent.map_err(|_| Status::unavailable("the story has ended"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What Terrace's programs do: a call, the text that goes onto the object, and the step it leads to.
fn send() {
    let telemetry =
        init("terrace-story", LogFormat::Json).expect("the collector's address is sound");
    let call = tracing::info_span!("csi", method = "CreateVolume");
    with_parent(&call, Some(PARENT));
    let carried = call.in_scope(inject);
    let step = tracing::info_span!("step", volume = "pvc-1");
    with_parent(&step, carried.as_deref());
    step.in_scope(|| tracing::info!("image made"));
    drop((call, step));
    telemetry.shutdown();
}

async fn collect() -> (SocketAddr, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
    let at = listener.local_addr().expect("its address");
    let server = Server::builder().add_service(TraceServiceServer::new(Collector { arrived }));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (at, arrivals)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_told_of_a_collector_sends_its_spans_there() {
    if std::env::var_os(SENDER).is_some() {
        return send();
    }
    let (collector, mut arrivals) = collect().await;
    let this = std::env::current_exe().expect("this test's own file");
    let mut sender = tokio::process::Command::new(this);
    sender.args(["--exact", STORY, "--nocapture"]).env(SENDER, "1");
    sender.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
    sender.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let done = tokio::time::timeout(Duration::from_secs(60), sender.output());
    let done = done.await.expect("it ends in time").expect("it starts");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    let line = said.lines().find(|line| line.contains("image made")).expect("the log line");
    assert!(line.starts_with('{') && line.contains("\"volume\":\"pvc-1\""), "{line}");

    let mut spans = Vec::new();
    let mut services = Vec::new();
    while let Ok(request) = arrivals.try_recv() {
        for resource in request.resource_spans {
            let about = resource.resource.map(|resource| format!("{:?}", resource.attributes));
            services.extend(about);
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("the span arrived");
    let (call, step) = (named("csi"), named("step"));
    let trace = call.trace_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(trace, TRACE, "the trace that was handed in");
    assert_eq!((&step.trace_id, &step.parent_span_id), (&call.trace_id, &call.span_id));
    assert!(services.iter().all(|about| about.contains("terrace-story")), "{services:?}");
}
