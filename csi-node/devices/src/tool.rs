//! Running a program of somebody else: own process group, bounded output, C locale, killed as a group at the deadline.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use terrace_device_types::Tool;

use crate::{Deadline, DeviceError};

/// What is kept of each of a tool's outputs.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// What a program reads, and how much is kept of what it says.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// Its standard input; none: /dev/null.
    pub(crate) input: Option<String>,
    /// Of each of its outputs; none: [`OUTPUT_LIMIT`].
    pub(crate) keep: Option<u64>,
}

/// How a tool ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a tool to its end, whatever its exit code; see [`succeed`].
pub(crate) fn run_tool<S: AsRef<OsStr>>(
    tool: Tool,
    arguments: &[S],
    deadline: Deadline,
) -> Result<Ended, DeviceError> {
    let mut command = Command::new(tool.program());
    command.args(arguments);
    run_command(tool, &mut command, Talk::default(), deadline)
}

/// Runs a prepared command to its end; see [`run_tool`].
pub(crate) fn run_command(
    tool: Tool,
    command: &mut Command,
    talk: Talk,
    deadline: Deadline,
) -> Result<Ended, DeviceError> {
    deadline.check(tool.program())?;
    let Talk { input, keep } = talk;
    let keep = keep.unwrap_or(OUTPUT_LIMIT);
    command.env("LC_ALL", "C").process_group(0);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| DeviceError::ToolMissing { tool, source })?;
    feed(child.stdin.take(), input);
    let stdout = collect(child.stdout.take(), keep);
    let stderr = collect(child.stderr.take(), keep);
    let status = wait(tool, child, deadline)?;
    let text = |end: mpsc::Receiver<String>| end.recv_timeout(deadline.left()).unwrap_or_default();
    Ok(Ended { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Writes on a thread: a program that does not read holds nobody up.
fn feed(pipe: Option<impl Write + Send + 'static>, input: Option<String>) {
    let (Some(mut pipe), Some(input)) = (pipe, input) else { return };
    thread::spawn(move || {
        // Whoever ends early misses the rest; its status tells.
        let _broken = pipe.write_all(input.as_bytes());
    });
}

/// Reads to the end on a thread, keeping the first bytes: a chatty tool neither blocks nor fills the memory.
fn collect(pipe: Option<impl Read + Send + 'static>, keep: u64) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut kept = Vec::new();
        let read = pipe.by_ref().take(keep).read_to_end(&mut kept);
        let drained = read.and_then(|_| std::io::copy(&mut pipe, &mut std::io::sink()));
        // A pipe that breaks ends the text; the exit status still counts.
        drop(drained);
        let _unwanted = send.send(String::from_utf8_lossy(&kept).into_owned());
    });
    receive
}

/// Waits on a thread, so that the deadline can interrupt; then kills the whole group and reaps it.
fn wait(tool: Tool, mut child: Child, deadline: Deadline) -> Result<ExitStatus, DeviceError> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (send, receive) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let _unwanted = send.send(child.wait());
    });
    match receive.recv_timeout(deadline.left()) {
        Ok(ended) => ended.map_err(|source| DeviceError::ToolMissing { tool, source }),
        Err(_) => {
            if let Some(group) = group {
                // ESRCH: it ended this very moment.
                let _gone = kill_process_group(group, Signal::KILL);
            }
            // Until it is dead it may still write: nobody is told sooner that its device is free. One that hangs in the kernel is the caller's to wait for.
            let _reaped = receive.recv();
            Err(deadline.passed(tool.program()))
        }
    }
}

/// The end of what a tool said, on one line.
pub(crate) fn said(ended: &Ended) -> String {
    let text = if ended.stderr.trim().is_empty() { &ended.stdout } else { &ended.stderr };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let from = line.char_indices().rev().nth(399).map_or(0, |(at, _)| at);
    line[from..].to_owned()
}

/// The error a tool's bad end is.
pub(crate) fn failure(tool: Tool, ended: &Ended) -> DeviceError {
    let status = match (ended.status.code(), ended.status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    };
    DeviceError::Tool { tool, status, said: said(ended) }
}

/// Runs a tool that must end with 0.
pub(crate) fn succeed<S: AsRef<OsStr>>(
    tool: Tool,
    arguments: &[S],
    deadline: Deadline,
) -> Result<Ended, DeviceError> {
    let ended = run_tool(tool, arguments, deadline)?;
    if ended.status.success() { Ok(ended) } else { Err(failure(tool, &ended)) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str, deadline: Deadline) -> Result<Ended, DeviceError> {
        run_command(Tool::Blkid, Command::new("sh").args(["-c", script]), Talk::default(), deadline)
    }

    #[test]
    fn what_is_fed_is_read_and_a_program_that_does_not_read_still_ends() {
        let deadline = Deadline::after(Duration::from_secs(60));
        let fed = |script: &str, keep| {
            let talk = Talk { input: Some("x".repeat(1 << 20)), keep };
            run_command(Tool::Blkid, Command::new("sh").args(["-c", script]), talk, deadline)
        };
        assert_eq!(fed("wc -c", None).unwrap().stdout.trim(), "1048576");
        assert_eq!(fed("cat", Some(1 << 21)).unwrap().stdout.len(), 1 << 20);
        assert!(fed("exit 0", None).unwrap().status.success());
    }

    #[test]
    fn output_is_bounded_and_a_chatty_tool_still_ends() {
        let deadline = Deadline::after(Duration::from_secs(60));
        let ended = shell("head -c 10000000 /dev/zero; echo bad >&2; exit 3", deadline).unwrap();
        assert_eq!(ended.stdout.len() as u64, OUTPUT_LIMIT);
        let DeviceError::Tool { status, said, .. } = failure(Tool::Blkid, &ended) else { panic!() };
        assert_eq!((status.as_str(), said.as_str()), ("exit code 3", "bad"));
    }

    #[test]
    fn i10_a_tool_and_its_children_are_killed_at_the_deadline() {
        let scratch = tempfile::tempdir().unwrap();
        let pid_file = scratch.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let began = Instant::now();
        let late = shell(&script, Deadline::after(Duration::from_secs(1)));
        assert!(matches!(late, Err(DeviceError::Deadline { .. })));
        assert!(began.elapsed() < Duration::from_secs(30));
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        let status = format!("/proc/{}/stat", pid.trim());
        let until = Instant::now() + Duration::from_secs(10);
        let dead = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
        while !dead() && Instant::now() < until {
            thread::yield_now();
        }
        assert!(dead(), "the grandchild outlived the deadline");
    }

    #[test]
    fn tools_speak_the_c_locale() {
        let deadline = Deadline::after(Duration::from_secs(60));
        assert_eq!(shell("printf %s $LC_ALL", deadline).unwrap().stdout, "C");
    }
}
