//! Loading and attaching the programs of the choices, one by one; a refusal names the choice it concerns.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::programs::links::FdLink;
use aya::programs::{
    FEntry, FExit, KProbe, Program, ProgramError, ProgramFd, ProgramInfo, RawTracePoint,
};
use aya::{Btf, Ebpf};
use terrace_probe_abi::layout::Tier;

use crate::ladder::{Choice, Fault, Refusal};
use crate::loader::ProgramFigures;
use crate::program::{CALL_TRACEPOINTS, Hook, URING_SUBMISSIONS, target};

/// A program at work.
#[derive(Debug)]
pub(crate) struct Working {
    /// Its name in `bpf/`.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: OwnedFd,
    /// Instructions the verifier went through, bytes in the kernel's form, bytes of machine code.
    pub(crate) sizes: [u32; 3],
    /// What holds it to where it runs; `None` where the kernel gives no link that can be passed on (kprobes before 5.15): then aya holds it.
    pub(crate) link: Option<FdLink>,
}

impl Working {
    /// From what the kernel says of a program. Its descriptor is not asked for by id: that wants CAP_SYS_ADMIN.
    pub(super) fn from_info(
        name: &str,
        info: &ProgramInfo,
        program: &ProgramFd,
        link: Option<FdLink>,
    ) -> Result<Self, ProgramError> {
        let program = program.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)?;
        let sizes = [
            info.verified_instruction_count().unwrap_or(0),
            info.size_translated().unwrap_or(0),
            info.size_jitted(),
        ];
        Ok(Self { name: name.to_owned(), program, sizes, link })
    }
}

/// All of them.
pub(crate) type Running = Vec<Working>;

/// One program and where it goes.
struct Attachment {
    hook: Hook,
    function: &'static str,
    tier: Tier,
    program: String,
    to: Where,
}

enum Where {
    Tracepoint(&'static str),
    Entry(&'static str),
    Exit(&'static str),
}

/// Attaches all, or tells every refusal met.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    types: &Btf,
    choices: &[Choice],
) -> Result<Running, Vec<Refusal>> {
    let (mut running, mut refusals) = (Vec::new(), Vec::new());
    for attachment in attachments(choices) {
        match attach(ebpf, types, &attachment) {
            Ok(working) => running.push(working),
            Err(why) => refusals.extend(refuse(&attachment, choices, &why)),
        }
    }
    if refusals.is_empty() { Ok(running) } else { Err(refusals) }
}

/// What the tier of system calls refuses, it refuses all that chose it.
fn refuse(attachment: &Attachment, choices: &[Choice], why: &str) -> Vec<Refusal> {
    let concerned = |choice: &&Choice| {
        choice.tier == attachment.tier
            && (choice.hook == attachment.hook || choice.function == attachment.function)
    };
    let refusal = |choice: &Choice| Refusal {
        hook: choice.hook,
        function: choice.function,
        tier: choice.tier,
        why: why.to_owned(),
        fault: Fault::Refused,
    };
    choices.iter().filter(concerned).map(refusal).collect()
}

/// Ends before beginnings, each program once.
fn attachments(choices: &[Choice]) -> Vec<Attachment> {
    let mut all = Vec::new();
    for choice in choices {
        match choice.tier {
            Tier::RawTracepoint => by_tracepoints(choice, &mut all),
            Tier::Fentry | Tier::Kprobe => by_function(choice, &mut all),
            Tier::None => {}
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|attachment| seen.insert(attachment.program.clone()));
    all
}

fn by_tracepoints(choice: &Choice, all: &mut Vec<Attachment>) {
    let own = target(choice.hook).tracepoints;
    let points = if own.is_empty() { CALL_TRACEPOINTS.as_slice() } else { own };
    all.extend(points.iter().map(|(point, program)| Attachment {
        hook: choice.hook,
        function: choice.function,
        tier: choice.tier,
        program: (*program).to_owned(),
        to: Where::Tracepoint(point),
    }));
}

fn by_function(choice: &Choice, all: &mut Vec<Attachment>) {
    let (enter, leave) = match choice.tier {
        Tier::Fentry => ("fentry", "fexit"),
        Tier::Kprobe | Tier::RawTracepoint | Tier::None => ("kprobe", "kretprobe"),
    };
    let one = |program: String, to| Attachment {
        hook: choice.hook,
        function: choice.function,
        tier: choice.tier,
        program,
        to,
    };
    let function = choice.function;
    all.push(match target(choice.hook).ends {
        Some(ends) => one(format!("{enter}_{ends}"), Where::Entry(ends)),
        None => one(format!("{leave}_{function}"), Where::Exit(function)),
    });
    all.push(one(format!("{enter}_{function}"), Where::Entry(function)));
}

fn attach(ebpf: &mut Ebpf, types: &Btf, attachment: &Attachment) -> Result<Working, String> {
    let name = attachment.program.as_str();
    let program = ebpf.program_mut(name).ok_or_else(|| format!("{name} is not in the object"))?;
    let link = match program {
        Program::RawTracePoint(program) => raw_tracepoint(program, attachment),
        Program::FEntry(program) => fentry(program, types, attachment),
        Program::FExit(program) => fexit(program, types, attachment),
        Program::KProbe(program) => kprobe(program, attachment),
        _ => return Err(format!("{name} is of another kind")),
    };
    let link = link.map_err(|error| explain(&error))?;
    let info = program.info().map_err(|error| explain(&error))?;
    let loaded = program.fd().map_err(|error| explain(&error))?;
    Working::from_info(name, &info, loaded, link).map_err(|error| explain(&error))
}

fn point(attachment: &Attachment) -> &'static str {
    match attachment.to {
        Where::Tracepoint(name) | Where::Entry(name) | Where::Exit(name) => name,
    }
}

fn raw_tracepoint(
    program: &mut RawTracePoint,
    attachment: &Attachment,
) -> Result<Option<FdLink>, ProgramError> {
    program.load()?;
    let names = if attachment.program == "uring_begins" {
        URING_SUBMISSIONS.as_slice()
    } else {
        &[point(attachment)]
    };
    let mut tried = Err(ProgramError::NotLoaded);
    for name in names {
        tried = program.attach(name);
        if tried.is_ok() {
            break;
        }
    }
    Ok(Some(program.take_link(tried?)?.into()))
}

fn fentry(
    program: &mut FEntry,
    types: &Btf,
    to: &Attachment,
) -> Result<Option<FdLink>, ProgramError> {
    program.load(point(to), types)?;
    let link = program.attach()?;
    Ok(Some(program.take_link(link)?.into()))
}

fn fexit(
    program: &mut FExit,
    types: &Btf,
    to: &Attachment,
) -> Result<Option<FdLink>, ProgramError> {
    program.load(point(to), types)?;
    let link = program.attach()?;
    Ok(Some(program.take_link(link)?.into()))
}

fn kprobe(program: &mut KProbe, to: &Attachment) -> Result<Option<FdLink>, ProgramError> {
    program.load()?;
    let link = program.attach(point(to), 0)?;
    if let Ok(link) = program.take_link(link)?.try_into() {
        return Ok(Some(link));
    }
    // What was no link of the kernel's is gone with the attempt. It is made anew and stays with the program.
    program.attach(point(to), 0)?;
    Ok(None)
}

/// What the kernel said, and the verifier's last word: its log ends with counts.
fn explain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let (outer, inner) = (error.to_string(), innermost.to_string());
    let mut lines = outer.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    let is_count =
        |line: &str| ["processed ", "stack depth "].iter().any(|one| line.starts_with(one));
    let last = lines.rfind(|line| !is_count(line));
    let said = last.map_or_else(|| first.clone(), |last| format!("{first} ... {last}"));
    if outer == inner || said.contains(&inner) { said } else { format!("{said}: {inner}") }
}

/// What the kernel says of a program, from its descriptor's page in /proc.
pub(super) fn figures(working: &Working) -> ProgramFigures {
    let path = format!("/proc/self/fdinfo/{}", working.program.as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |key| field(&text, key);
    let [verified_instructions, translated_bytes, jited_bytes] = working.sizes;
    ProgramFigures {
        name: working.name.clone(),
        runs: number("run_cnt"),
        nanoseconds: number("run_time_ns"),
        recursion_misses: number("recursion_misses"),
        verified_instructions,
        translated_bytes,
        jited_bytes,
    }
}

/// "run_cnt:\t17"
pub(super) fn field(text: &str, key: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}
