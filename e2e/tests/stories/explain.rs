//! What `kubectl terrace explain` says on a pool that is full: of the volume that fills it, of a claim that finds no
//! room there, and of a volume that cannot grow. The figures are those of the pool's own status, not merely some words.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use terrace_crds::Size;
use terrace_e2e::rig::{kubeconfig, said};
use terrace_e2e::story::{Story, apply, class_yaml, kubectl, until};

use crate::pools::{pool, rid_of, with_disk};

/// Left for the pool's own bookkeeping.
const LEFT: u64 = 16 << 20;

/// `kubectl terrace` with these words, as built beside this test; prints what it printed.
pub(crate) fn terrace(words: &[&str]) -> Result<String> {
    let test = std::env::current_exe()?;
    let built = test.parent().and_then(|deps| deps.parent()).context("no target folder")?;
    let program = built.join("kubectl-terrace");
    let text = said(Command::new(program).arg("--kubeconfig").arg(kubeconfig()?).args(words))?;
    println!("$ kubectl terrace {}\n{text}", words.join(" "));
    Ok(text)
}

/// kubectl with these words; prints what it printed.
fn shown(words: &[&str]) -> Result<String> {
    let text = kubectl(words)?;
    println!("$ kubectl {}\n{text}", words.join(" "));
    Ok(text)
}

/// Bytes that the pool's status says are free.
fn free() -> Result<u64> {
    let said = kubectl(&["get", "spool", "full", "-o", "jsonpath={.status.available}"])?;
    Ok(said.parse::<Size>()?.bytes()?)
}

/// A volume that takes all that the pool has, and a Pod that fills it.
fn fill(story: &Story) -> Result<()> {
    let size = (free()? - LEFT) >> 20;
    story.claim("big", "stories-full", &format!("{size}Mi"), "")?;
    story.pod("one", "big", "", "")?;
    story.runs("one")?;
    let filled = story.exec("one", "dd if=/dev/zero of=/data/f bs=1M 2>&1; sync; true")?;
    ensure!(filled.contains("No space left on device"), "no ENOSPC: {filled}");
    let volume = story.volume("big")?;
    let name = volume["metadata"]["name"].as_str().context("no name")?;
    let pressed = "--for=condition=CapacityPressure";
    kubectl(&["wait", &format!("sv/{name}"), pressed, "--timeout=90s"])?;
    until("the pool's status counts the volume", 30, || {
        let left = free()?;
        Ok(if left < 2 * LEFT { Ok(()) } else { Err(format!("{left} bytes free")) })
    })
}

/// The bytes between these two pieces of a line.
fn between(text: &str, before: &str, after: &str) -> Result<u64> {
    let rest = text.split_once(before).with_context(|| format!("no {before:?} in:\n{text}"))?.1;
    let size = rest.split_once(after).with_context(|| format!("no {after:?} in:\n{rest}"))?.0;
    Ok(size.parse::<Size>()?.bytes()?)
}

/// Both are told in whole MiB or finer.
fn is_what_the_pool_has(told: u64) -> Result<()> {
    let free = free()?;
    ensure!(told.abs_diff(free) < 1 << 20, "{told} bytes free are told, {free} bytes are free");
    Ok(())
}

fn tells_of_the_volume(story: &Story) -> Result<()> {
    let told = terrace(&["explain", &format!("{}/big", story.namespace)])?;
    let left = between(&told, "pool full (tier strange, backend file; ", " of ")?;
    is_what_the_pool_has(left)?;
    for words in [
        "free for more volumes",
        "CapacityPressure is True",
        "resize the volume or clean up data",
        "Ready is True",
    ] {
        ensure!(told.contains(words), "does not say {words:?}");
    }
    Ok(())
}

fn tells_of_a_claim_without_room(story: &Story) -> Result<()> {
    story.claim("more", "stories-full", "512Mi", "")?;
    let told = terrace(&["explain", &format!("{}/more", story.namespace)])?;
    let left = between(&told, "node-a/full: 512Mi asked, ", " free")?;
    is_what_the_pool_has(left)?;
    ensure!(told.contains("It would ask for 512Mi of xfs."), "does not say what is asked");
    // The same sentence, where the owner of the claim looks first.
    apply(&class_yaml("stories-full-now", "{terrace.storage/pool: full}", "Immediate", "Delete"))?;
    story.claim("now", "stories-full-now", "512Mi", "")?;
    let event = story.event("now", "node-a/full: 512Mi asked", 60)?;
    println!("Event on claim now: {event}\n");
    Ok(())
}

fn tells_why_it_does_not_grow(story: &Story) -> Result<()> {
    let patch = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
    story.kubectl(&["patch", "pvc", "big", "-p", patch])?;
    let event = story.event("big", "more asked", 60)?;
    println!("Event on claim big, asked to grow to 2Gi: {event}\n");
    let left = between(&event, "more asked, ", " free")?;
    is_what_the_pool_has(left)?;
    Ok(())
}

#[test]
fn on_a_full_pool_explain_says_what_is_free_and_who_finds_no_room() -> Result<()> {
    with_disk("full", "true", |id| {
        pool("full", &format!("devices: [{{id: '{id}'}}], file: {{}}"))?;
        kubectl(&["wait", "spool/full", "--for=condition=Ready", "--timeout=60s"])?;
        let story = Story::begin("explain")?;
        let parameters = "{terrace.storage/pool: full}";
        apply(&class_yaml("stories-full", parameters, "WaitForFirstConsumer", "Delete"))?;
        fill(&story)?;
        shown(&["get", "storagepool", "full", "-o", "wide"])?;
        tells_of_the_volume(&story)?;
        tells_of_a_claim_without_room(&story)?;
        tells_why_it_does_not_grow(&story)?;
        kubectl(&["delete", "storageclass", "stories-full", "stories-full-now"])?;
        story.end()?;
        rid_of(&["full"])
    })
}
