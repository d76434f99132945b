//! How each function is followed: fentry, else kprobe, else raw tracepoints of system calls, else not. A pure function over what is
//! known of the kernel and what it refused so far; trying is the loader's.

use std::collections::BTreeSet;

use terrace_probe_abi::layout::{Operation, Path, Tier};

use crate::loader::{FunctionReport, Plan, Switch};
use crate::program::{Hook, TARGETS, Target, Visibility};

/// What the kernel is said to offer. What it does offer shows when it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Version: (6, 1).
    pub kernel: (u32, u32),
    /// Whether it describes its types (`CONFIG_DEBUG_INFO_BTF`).
    pub types: Known,
    /// What it locks.
    pub lockdown: Lockdown,
    /// Capabilities that are missing: names.
    pub lacking: Vec<&'static str>,
    /// Whether it has kprobes (`CONFIG_KPROBES`).
    pub kprobes: Known,
    /// Those of the functions we know that the kernel itself, not a module, has.
    pub functions: BTreeSet<String>,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Known {
    /// It is.
    There,
    /// It is not.
    #[default]
    Missing,
}

/// `/sys/kernel/security/lockdown`. Linux 5.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lockdown {
    /// Off, or unknown because securityfs is not mounted.
    #[default]
    None,
    /// `integrity`: what reads is allowed.
    Integrity,
    /// `confidentiality`: programs may not read the kernel's memory.
    Confidentiality,
}

/// A tier that was tried for a function, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For what.
    pub hook: Hook,
    /// Which function; for tracepoints their name.
    pub function: &'static str,
    /// Which tier.
    pub tier: Tier,
    /// Why, as a sentence without its full stop.
    pub why: String,
    /// What kind of fault it is.
    pub fault: Fault,
}

/// What is wrong with a tier for a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The kernel does not have it, or what it has does not work.
    Refused,
    /// It works, and not all calls pass the function: a compiler put it into their own code.
    Bypassed,
}

/// How a hook is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What.
    pub hook: Hook,
    /// How.
    pub tier: Tier,
    /// By which function, or the first of its names.
    pub function: &'static str,
    /// Why not better; empty for the best.
    pub reason: String,
}

const OLDEST: (u32, u32) = (5, 8);

/// One choice a target, in their order.
#[must_use]
pub fn choose(facts: &Facts, plan: &Plan, refusals: &[Refusal]) -> Vec<Choice> {
    TARGETS.iter().map(|target| choose_for(target, facts, plan, refusals)).collect()
}

fn choose_for(target: &Target, facts: &Facts, plan: &Plan, refusals: &[Refusal]) -> Choice {
    let named = target.functions.first().or(target.tracepoints.first().map(|(name, _)| name));
    let choice = |tier, function, reasons: Vec<String>| Choice {
        hook: target.hook,
        tier,
        function,
        reason: reasons.join("; "),
    };
    let name = named.copied().unwrap_or_default();
    if let Some(reason) = against_all(target, facts, plan) {
        return choice(Tier::None, name, vec![reason]);
    }
    let mut reasons = Vec::new();
    for tier in tiers(target, plan, refusals) {
        match try_tier(target, tier, facts, refusals) {
            Ok(function) => return choice(tier, function, reasons),
            Err(reason) => reasons.push(format!("{}: {reason}", tier_name(tier))),
        }
    }
    if let Some(forced) = plan.forced.filter(|_| reasons.is_empty()) {
        reasons.push(format!("forced to {}", tier_name(forced)));
    }
    choice(Tier::None, name, reasons)
}

/// What no tier helps against.
fn against_all(target: &Target, facts: &Facts, plan: &Plan) -> Option<String> {
    let is_asked = target.operations.iter().any(|operation| plan.operations.contains(operation));
    if !is_asked || (target.hook == Hook::Block && plan.block == Switch::Off) {
        return Some("switched off".into());
    }
    if facts.kernel < OLDEST {
        return Some(format!(
            "Linux {}.{} is too old, the probe needs {}.{}",
            facts.kernel.0, facts.kernel.1, OLDEST.0, OLDEST.1
        ));
    }
    if facts.types == Known::Missing {
        return Some("the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)".into());
    }
    if facts.lockdown == Lockdown::Confidentiality {
        return Some("the kernel is locked down for confidentiality, which forbids programs to read its memory".into());
    }
    if !facts.lacking.is_empty() {
        return Some(format!("the process lacks {}", facts.lacking.join(" and ")));
    }
    None
}

/// Best first. A tier that is forced is the only one, but for a function that calls go past on this kernel; tracepoints that serve
/// every tier stay.
fn tiers(target: &Target, plan: &Plan, refusals: &[Refusal]) -> Vec<Tier> {
    if target.functions.is_empty() {
        return if plan.forced == Some(Tier::None) { vec![] } else { vec![Tier::RawTracepoint] };
    }
    match plan.forced {
        Some(Tier::None) => vec![],
        Some(forced) if is_bypassed(target, refusals) => vec![forced, Tier::RawTracepoint],
        Some(forced) => vec![forced],
        None => vec![Tier::Fentry, Tier::Kprobe, Tier::RawTracepoint],
    }
}

fn is_bypassed(target: &Target, refusals: &[Refusal]) -> bool {
    let is_it = |one: &Refusal| one.hook == target.hook && one.fault == Fault::Bypassed;
    refusals.iter().any(is_it)
}

fn try_tier(
    target: &Target,
    tier: Tier,
    facts: &Facts,
    refusals: &[Refusal],
) -> Result<&'static str, String> {
    let refused = |function: &str| {
        refusals.iter().find(|refusal| {
            refusal.hook == target.hook && refusal.tier == tier && refusal.function == function
        })
    };
    match tier {
        Tier::Fentry | Tier::Kprobe => {
            if tier == Tier::Kprobe && facts.kprobes == Known::Missing {
                return Err("the kernel has none (CONFIG_KPROBES)".into());
            }
            by_function(target, facts, |function| refused(function).map(|found| found.why.clone()))
        }
        Tier::RawTracepoint => {
            let name = target.tracepoints.first().map_or("sys_enter", |(name, _)| name);
            if target.tracepoints.is_empty() && target.by_calls == Visibility::Unseen {
                return Err("no system call shows it".into());
            }
            if target.hook == Hook::Uring && facts.kernel < (6, 0) {
                return Err("the tracepoints of io_uring tell too little before Linux 6.0".into());
            }
            refused(name).map_or(Ok(name), |found| Err(found.why.clone()))
        }
        Tier::None => Err(String::new()),
    }
}

fn by_function(
    target: &Target,
    facts: &Facts,
    refused: impl Fn(&str) -> Option<String>,
) -> Result<&'static str, String> {
    if let Some(ends) = target.ends.filter(|ends| !facts.functions.contains(*ends)) {
        return Err(format!("the kernel has no function {ends}"));
    }
    let mut reasons = Vec::new();
    for function in target.functions {
        if !facts.functions.contains(*function) {
            reasons.push(format!("the kernel has no function {function}"));
        } else if let Some(why) = refused(function) {
            reasons.push(why);
        } else {
            return Ok(function);
        }
    }
    Err(reasons.join(", "))
}

/// As users read it.
#[must_use]
pub fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Fentry => "fentry",
        Tier::Kprobe => "kprobe",
        Tier::RawTracepoint => "raw tracepoint",
        Tier::None => "none",
    }
}

/// What is told of the choices.
#[must_use]
pub fn report(choices: &[Choice]) -> Vec<FunctionReport> {
    let told = |choice: &Choice| FunctionReport {
        function: match choice.tier {
            // By system calls no function is hooked; it is told which one would have been.
            Tier::RawTracepoint => crate::program::target(choice.hook)
                .functions
                .first()
                .unwrap_or(&choice.function)
                .to_string(),
            Tier::Fentry | Tier::Kprobe | Tier::None => choice.function.to_owned(),
        },
        tier: choice.tier,
        reason: choice.reason.clone(),
    };
    choices.iter().map(told).collect()
}

/// Ways to a volume of which none of the choices sees all, though its operations are asked for. libaio syncs by a worker, which
/// makes no system call: where fsync is left to those, it goes unseen.
#[must_use]
pub fn unobservable(choices: &[Choice], asked: &[Operation]) -> Vec<Path> {
    let is_unseen = |path: Path| {
        TARGETS.iter().zip(choices).any(|(target, choice)| {
            let by_worker = target.hook == Hook::Fsync && choice.tier == Tier::RawTracepoint;
            (target.path == path && choice.tier == Tier::None || by_worker && path == Path::Aio)
                && target.operations.iter().any(|operation| asked.contains(operation))
        })
    };
    [Path::Syscall, Path::IoUring, Path::Aio, Path::Mmap, Path::Splice]
        .into_iter()
        .filter(|path| is_unseen(*path))
        .collect()
}
