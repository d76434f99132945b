//! Growing, and what does not grow.

use anyhow::{Result, ensure};
use terrace_e2e::story::{Story, until};

const GROW: &str = r#"{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}"#;

/// A Pod that has `/data` of 512Mi on this filesystem, and the bytes that it sees there.
fn in_use(fs: &str) -> Result<(Story, u64)> {
    let story = Story::begin(&format!("grow-{fs}"))?;
    story.claim("data", &format!("stories-{fs}"), "512Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    let before = bytes(&story)?;
    Ok((story, before))
}

fn bytes(story: &Story) -> Result<u64> {
    let seen = story.exec("one", "df -k /data | tail -1 | awk '{print $2}'")?;
    Ok(seen.trim().parse::<u64>()? << 10)
}

fn grows_under_write(fs: &str) -> Result<()> {
    let (story, before) = in_use(fs)?;
    story.exec(
        "one",
        "(while :; do date >> /data/log; sync; done) >/dev/null 2>&1 & echo $! > /tmp/pid",
    )?;
    story.kubectl(&["patch", "pvc", "data", "-p", GROW])?;
    until("the Pod sees the larger filesystem", 90, || {
        let now = bytes(&story)?;
        Ok(if now > before + (400 << 20) {
            Ok(())
        } else {
            Err(format!("{now} bytes, {before} before"))
        })
    })?;
    story.exec("one", "kill $(cat /tmp/pid); a=$(wc -l < /data/log); test \"$a\" -gt 0")?;
    let wait = "--for=jsonpath={.status.capacity.storage}=1Gi";
    story.kubectl(&["wait", "pvc/data", wait, "--timeout=60s"])?;
    story.end()
}

#[test]
fn xfs_grows_while_it_is_written() -> Result<()> {
    grows_under_write("xfs")
}

#[test]
fn btrfs_grows_while_it_is_written() -> Result<()> {
    grows_under_write("btrfs")
}

/// This kernel withholds the capability, so the sentence must come; where it is there, ext4 must grow.
#[test]
fn ext4_grows_in_use_or_says_which_capability_is_missing_and_grows_at_the_next_stage() -> Result<()>
{
    let (story, before) = in_use("ext4")?;
    story.kubectl(&["patch", "pvc", "data", "-p", GROW])?;
    let said = until("ext4 grew, or said why not", 90, || {
        if bytes(&story)? > before + (400 << 20) {
            return Ok(Ok(String::new()));
        }
        let all = story.kubectl(&[
            "get",
            "events",
            "-o",
            "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}",
        ])?;
        Ok(all
            .lines()
            .find(|note| note.contains("CAP_SYS_RESOURCE"))
            .map(str::to_owned)
            .ok_or(all.clone()))
    })?;
    println!("said: {said}");
    story.drop_pod("one")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    let after = bytes(&story)?;
    ensure!(
        after > before + (400 << 20),
        "{after} bytes after the next stage, {before} before; said {said:?}"
    );
    story.end()
}

#[test]
fn a_claim_does_not_shrink() -> Result<()> {
    let story = Story::begin("shrink")?;
    story.claim("data", "stories-now", "1Gi", "")?;
    story.binds("data")?;
    let patch = r#"{"spec":{"resources":{"requests":{"storage":"512Mi"}}}}"#;
    let refused = story.kubectl(&["patch", "pvc", "data", "-p", patch]);
    ensure!(refused.is_err(), "the API server let a claim shrink");
    let volume = story.volume("data")?;
    let name = volume["metadata"]["name"].as_str().unwrap_or_default();
    let patch = r#"{"spec":{"capacity":"512Mi"}}"#;
    let as_operator = "--as=system:serviceaccount:terrace-system:terrace-operator";
    let refused = story.kubectl(&[as_operator, "patch", "sv", name, "--type=merge", "-p", patch]);
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(said.contains("spec.capacity cannot shrink"), "{said}");
    story.end()
}
