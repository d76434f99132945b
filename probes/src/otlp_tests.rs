//! A collector on loopback gets metrics and events, with every field.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::Collector;
use crate::cgroup::Container;
use crate::loader::Switch;
use crate::metrics::tests::view;
use crate::otlp_metrics::Span;
use crate::slow::{Where, event};
use crate::slow_buffer::Buffer;

#[derive(Clone)]
struct Fake {
    metrics: mpsc::UnboundedSender<ExportMetricsServiceRequest>,
    logs: mpsc::UnboundedSender<ExportLogsServiceRequest>,
}

#[tonic::async_trait]
impl MetricsService for Fake {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.send(request.into_inner()).map_err(|_| Status::unavailable("over"))?;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Fake {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs.send(request.into_inner()).map_err(|_| Status::unavailable("over"))?;
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

async fn collect(fake: Fake) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(MetricsServiceServer::new(fake.clone()))
        .add_service(LogsServiceServer::new(fake));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    at
}

#[tokio::test]
async fn a_collector_gets_metrics_and_events() {
    let (metrics, mut metrics_came) = mpsc::unbounded_channel();
    let (logs, mut logs_came) = mpsc::unbounded_channel();
    let at = collect(Fake { metrics, logs }).await;
    let collector = Collector::new(&format!("http://{at}"), "node-1").unwrap();
    let span = Span { start: 1, now: 2 };
    collector.send_metrics(&view(1, Switch::On), span).await.unwrap();
    let came = metrics_came.recv().await.unwrap();
    let all = &came.resource_metrics[0].scope_metrics[0].metrics;
    let named = |name: &str| all.iter().find(|metric| metric.name == name).unwrap();
    let duration = named("k8s.pod.volume.operation.duration");
    assert_eq!(duration.unit, "s");
    let Some(Data::ExponentialHistogram(histogram)) = &duration.data else {
        panic!("{duration:?}")
    };
    let point = &histogram.data_points[0];
    let buckets = point.positive.as_ref().unwrap();
    assert_eq!((point.scale, point.count, buckets.bucket_counts.iter().sum::<u64>()), (5, 6, 6));
    // 11 ms lie in the bucket that says so: above 2^(i/32) s and at most 2^((i+1)/32) s.
    let edge = |at: usize| (f64::from(buckets.offset + i32::try_from(at).unwrap()) / 32.0).exp2();
    let is_near = |at: usize| edge(at) < 0.0118 && edge(at + 1) > 0.0103;
    assert!(
        (0..buckets.bucket_counts.len()).any(|at| buckets.bucket_counts[at] > 0 && is_near(at))
    );
    assert!(matches!(named("storage_io_latency").data, Some(Data::Histogram(_))));
    assert_eq!(named("terrace.probe.missed").unit, "1");

    let buffer = Arc::new(Buffer::new(10));
    let record = crate::slow::tests::record();
    let container = Container { pod_uid: Some("u".into()), id: Some("c".into()) };
    buffer.push(&Arc::new(event(
        &record,
        Where::default(),
        container,
        0,
        crate::class::Bounds::default(),
    )));
    let sender = tokio::spawn(collector.send_events(buffer));
    let came = tokio::time::timeout(Duration::from_secs(10), logs_came.recv()).await;
    sender.abort();
    let log = came.unwrap().unwrap().resource_logs[0].scope_logs[0].log_records[0].clone();
    let said = format!("{log:?}");
    for part in
        ["write of /data/wal.1 took 11.0 ms", "k8s.pod.uid", "container.id", "terrace.queueNs"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}
