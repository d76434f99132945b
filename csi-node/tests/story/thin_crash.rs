//! I3 for the growth of a thin pool: wherever the process dies, the next pass ends it, and what the pool holds is read before and after.
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use terrace_backends::plan_growth;
use terrace_device_types::VolumeMode;
use terrace_node::agent::thin_watch;
use terrace_node::host::{Host, RealHost};

use crate::agent::agent;
use crate::api::FakeApi;
use crate::bench::{Bench, Running};
use crate::crash::at_every_point_of;
use crate::disks::has_disks;

const BYTES: &[u8] = b"what the pool holds";

fn wants_more(bench: &Bench) -> bool {
    let view = RealHost::new().pool(&bench.pool.dir).expect("a look");
    !plan_growth(&view).expect("a whole group").is_empty()
}

fn opened(bench: &Bench) -> std::fs::File {
    let path = bench.view("vol").volume.image.expect("made").place();
    std::fs::File::options().read(true).write(true).open(path).expect("opened")
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_thin_pools_growth_ends_wherever_the_process_dies() {
    if !has_disks() {
        return;
    }
    let prepare = async |bench: &Bench| {
        let running = bench.start().await;
        bench.create(&running, "vol", VolumeMode::Block).await;
        running.stop().await;
        opened(bench).write_all_at(BYTES, 0).expect("written");
        assert!(wants_more(bench), "it has all that it can have");
    };
    let story = |bench: Arc<Bench>, running: Running| async move {
        let agent = agent(&running, &FakeApi::default());
        let grown = thin_watch::grow(&agent, bench.pool.clone()).await;
        drop(agent);
        running.stop().await;
        grown.map(drop).map_err(drop)
    };
    at_every_point_of(Bench::on_thin_that_gains, prepare, story, |bench| {
        assert!(!wants_more(bench), "it never grew");
        let mut read = vec![0; BYTES.len()];
        opened(bench).read_exact_at(&mut read, 0).expect("read");
        assert_eq!(read, BYTES);
        assert_eq!(bench.objects(), [format!("t-{}", bench.uuid("vol"))]);
    })
    .await;
}
