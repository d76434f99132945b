//! What is not to be seen: a pool whose disk is not mounted, an image that is lost. Neither is taken for deleted, neither is made again.
use serde_json::json;
use terrace_device_types::tag::XATTR;

use crate::agent::{agent, condition, deleted, dropped, pass, stamp, status, tag, volume};
use crate::api::FakeApi;
use crate::bench::{Bench, EXT4};

/// The pool's disk is not mounted: its directory is there and empty.
fn unmount_pool(bench: &Bench) {
    let aside = bench.path("aside");
    std::fs::rename(&bench.pool.dir, &aside).expect("set aside");
    std::fs::create_dir(&bench.pool.dir).expect("an empty directory");
}

fn mount_pool(bench: &Bench) {
    std::fs::remove_dir(&bench.pool.dir).expect("still empty: nothing was made in it");
    std::fs::rename(bench.path("aside"), &bench.pool.dir).expect("back");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_volume_whose_pool_is_not_mounted_is_not_taken_for_deleted() {
    let bench = Bench::new();
    let (mut running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    unmount_pool(&bench);
    let agent = agent(&running, &fake);
    for stamp in [stamp(&bench), None] {
        let writes = pass(&agent, &fake, &deleted(&bench, stamp)).await;
        assert!(!dropped(&writes), "not seeing the image is no proof that it is gone");
        let (truth, _, message) = condition(status(&writes), "Ready");
        assert_eq!(truth, "False");
        assert!(message.contains("is its disk mounted?"), "{message}");
    }
    let unstaged = running.node.node_unstage_volume(bench.unstage("vol")).await;
    assert_eq!(unstaged.expect_err("unknown").code(), tonic::Code::Unavailable);
    let unpublished = running.node.node_unpublish_volume(bench.unpublish("vol", "pod")).await;
    unpublished.expect("a Pod can end without the pool");
    mount_pool(&bench);
    let writes = pass(&agent, &fake, &deleted(&bench, stamp(&bench))).await;
    assert!(dropped(&writes) && tag(&bench).is_none(), "seen again, it goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_whose_pool_is_not_mounted_says_so_and_is_not_made_again() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    let agent = agent(&running, &fake);
    let mut volume = volume(&bench, "16Mi");
    let made = status(&pass(&agent, &fake, &volume).await).clone();
    volume.status = Some(serde_json::from_value(made).expect("a status"));
    unmount_pool(&bench);
    for _ in 0..2 {
        let writes = pass(&agent, &fake, &volume).await;
        let Some((_, body)) = writes.iter().find(|(path, _)| path.ends_with("/status")) else {
            continue;
        };
        let (truth, _, message) = condition(&body["status"], "Ready");
        assert_eq!(truth, "False");
        assert!(message.contains("is its disk mounted?") && !message.contains("delete the claim"));
        assert_eq!(body["status"]["capacity"], json!("16Mi"), "that it was there is not forgotten");
        volume.status = Some(serde_json::from_value(body["status"].clone()).expect("a status"));
    }
    mount_pool(&bench);
    let back = pass(&agent, &fake, &volume).await;
    assert_eq!(condition(status(&back), "Ready").0, "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_volume_that_is_gone_stays_not_made_however_often_it_is_looked_at() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    let agent = agent(&running, &fake);
    let mut volume = volume(&bench, "16Mi");
    let spec = json!({ "origin": "Direct" });
    volume.spec.origin = serde_json::from_value(spec["origin"].clone()).expect("an origin");
    let made = status(&pass(&agent, &fake, &volume).await).clone();
    volume.status = Some(serde_json::from_value(made).expect("a status"));
    let image = bench.view("vol").volume.image.expect("made").path;
    std::fs::remove_file(image).expect("lost");
    for _ in 0..3 {
        let writes = pass(&agent, &fake, &volume).await;
        assert!(tag(&bench).is_none(), "an empty volume in the place of a lost one");
        if let Some((_, body)) = writes.iter().find(|(path, _)| path.ends_with("/status")) {
            volume.status = Some(serde_json::from_value(body["status"].clone()).expect("a status"));
        }
    }
}

/// Put there by hand: everything of it looks right but its tag.
#[tokio::test(flavor = "multi_thread")]
async fn i4_an_image_of_another_cluster_under_a_volumes_name_is_not_called_ready() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let image = bench.view("vol").volume.image.expect("made").path;
    let run = |program: &str, words: &[&str]| {
        let mut command = std::process::Command::new(program);
        let ended = command.args(words).arg(&image).output().expect("started");
        assert!(ended.status.success(), "{program}: {ended:?}");
        String::from_utf8(ended.stdout).expect("text")
    };
    let read = || run("getfattr", &["--absolute-names", "--only-values", "-n", XATTR]);
    let theirs = read().replace(bench.cluster.as_str(), "another");
    run("setfattr", &["-n", XATTR, "-v", &theirs]);
    let writes = pass(&agent(&running, &fake), &fake, &volume(&bench, "16Mi")).await;
    let (ready, _, message) = condition(status(&writes), "Ready");
    assert_eq!(ready, "False", "{message}");
    assert_eq!(read(), theirs, "touched");
    running.stop().await;
}
