//! What is refused, and the sentence that says so where a person looks: on the claim.

use anyhow::{Result, ensure};
use serde_json::Value;
use terrace_e2e::story::{Story, apply, class_yaml, kubectl, until};

fn refused(name: &str, parameters: &str, size: &str, sentence: &str) -> Result<()> {
    let story = Story::begin(name)?;
    let class = format!("stories-{name}");
    apply(&class_yaml(&class, parameters, "Immediate", "Delete"))?;
    story.claim("data", &class, size, "")?;
    let said = story.event("data", sentence, 60)?;
    println!("{said}");
    let phase = story.kubectl(&["get", "pvc", "data", "-o", "jsonpath={.status.phase}"])?;
    ensure!(phase == "Pending", "the claim is {phase}");
    kubectl(&["delete", "storageclass", &class])?;
    story.end()
}

/// A claim of this size that is bound, and its StorageVolume.
fn granted(name: &str, size: &str) -> Result<(Story, Value)> {
    let story = Story::begin(name)?;
    story.claim("data", "stories-now", size, "")?;
    story.binds("data")?;
    let volume = story.volume("data")?;
    Ok((story, volume))
}

#[test]
fn an_unknown_parameter_is_named_on_the_claim() -> Result<()> {
    refused(
        "unknown",
        "{terrace.storage/pool: stories, replicas: \"3\"}",
        "1Gi",
        "parameter \"replicas\" of the StorageClass is unknown",
    )
}

#[test]
fn an_unsupported_filesystem_is_refused_on_the_claim() -> Result<()> {
    refused(
        "zfs",
        "{terrace.storage/pool: stories, terrace.storage/fs-type: zfs}",
        "1Gi",
        "it must be xfs, ext4 or btrfs",
    )
}

#[test]
fn a_missing_pool_is_named_on_the_claim() -> Result<()> {
    refused(
        "no-pool",
        "{terrace.storage/pool: nowhere}",
        "1Gi",
        "there is no StoragePool \"nowhere\"",
    )
}

#[test]
fn more_than_any_pool_has_is_refused_on_the_claim() -> Result<()> {
    refused("too-large", "{terrace.storage/pool: stories}", "900Ti", "900Ti asked")
}

#[test]
fn a_parameter_without_an_engine_is_refused_with_a_sentence() -> Result<()> {
    refused(
        "limits",
        "{terrace.storage/pool: stories, terrace.storage/read-iops: \"3000\"}",
        "1Gi",
        "is not supported in this release",
    )
}

#[test]
fn a_pod_whose_volume_fits_nowhere_waits_with_a_reason() -> Result<()> {
    let story = Story::begin("no-room")?;
    story.claim("data", "stories-xfs", "900Ti", "")?;
    story.pod("one", "data", "", "")?;
    let said = story.event("one", "did not have enough free storage", 60)?;
    println!("{said}");
    story.end()
}

#[test]
fn a_size_below_the_minimum_is_raised_and_said() -> Result<()> {
    let (story, volume) = granted("minimum", "1Mi")?;
    ensure!(volume["spec"]["capacity"] == "300Mi", "capacity {}", volume["spec"]["capacity"]);
    println!("{}", story.event("data", "raised to 300Mi, the minimum for xfs", 60)?);
    story.end()
}

#[test]
fn a_size_that_is_no_multiple_is_rounded_up_and_said() -> Result<()> {
    let (story, volume) = granted("aligned", "\"536870913\"")?;
    ensure!(volume["spec"]["capacity"] == "513Mi", "capacity {}", volume["spec"]["capacity"]);
    println!("{}", story.event("data", "rounded up to a multiple of 1Mi", 60)?);
    story.end()
}

#[test]
fn a_person_cannot_delete_a_storage_volume() -> Result<()> {
    let (story, volume) = granted("delete-sv", "512Mi")?;
    let name = volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let refused = kubectl(&["delete", "sv", &name]);
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    println!("{said}");
    ensure!(
        said.contains("PersistentVolumeClaim"),
        "the refusal does not say what to do: {said:?}"
    );
    let again = until("the volume is still there", 5, || Ok(Ok(story.volume("data")?)))?;
    ensure!(again["metadata"]["deletionTimestamp"].is_null(), "it is being deleted");
    story.end()
}
