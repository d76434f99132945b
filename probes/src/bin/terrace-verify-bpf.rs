//! `terrace-verify-bpf [fentry|kprobe|raw-tracepoint]...`: loads the probe's programs by each tier that is named, and prints what
//! the kernel's verifier made of them. Fails if a program is refused that this kernel has the function for.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use terrace_probe::aya_loader::AyaLoader;
use terrace_probe::ladder::tier_name;
use terrace_probe::loader::{Attached, FunctionReport, Loader, Plan};
use terrace_probe_abi::layout::Tier;

fn main() -> Result<ExitCode> {
    let mut tiers = Vec::new();
    for word in std::env::args().skip(1) {
        tiers.push(match word.as_str() {
            "fentry" => Tier::Fentry,
            "kprobe" => Tier::Kprobe,
            "raw-tracepoint" => Tier::RawTracepoint,
            other => bail!("{other}: fentry, kprobe or raw-tracepoint"),
        });
    }
    if tiers.is_empty() {
        tiers.push(Tier::RawTracepoint);
    }
    let mut refused = 0;
    for tier in tiers {
        refused += verify(tier)?;
    }
    println!("{refused} refused");
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(tier: Tier) -> Result<usize> {
    let plan = Plan { forced: Some(tier), ..Plan::default() };
    let probe = AyaLoader.attach(&plan).context("attach")?;
    println!("# {}: {} functions", tier_name(tier), probe.functions().len());
    let mut refused = 0;
    for function in probe.functions() {
        refused += usize::from(is_refused(function, tier));
        println!("{:<24}{:<16}{}", function.function, tier_name(function.tier), function.reason);
    }
    let counters = probe.counters()?;
    println!("{:<32}{:>12}{:>12}{:>12}", "program", "verified", "bytes", "machine");
    for program in &counters.programs {
        println!(
            "{:<32}{:>12}{:>12}{:>12}",
            program.name,
            program.verified_instructions,
            program.translated_bytes,
            program.jited_bytes
        );
    }
    println!("{} programs, {} bytes of maps", counters.programs.len(), counters.map_bytes);
    Ok(refused)
}

/// Followed otherwise than it was forced to be, and neither for want of the function nor of a system call that shows it, nor because
/// this kernel's compiler lets a call go past the function, as the self-test found.
fn is_refused(function: &FunctionReport, forced: Tier) -> bool {
    let is_absent = ["has no function", "no system call shows it", "switched off", "goes past"];
    let is_otherwise =
        function.tier == Tier::None || function.tier != forced && !function.reason.is_empty();
    is_otherwise && !is_absent.iter().any(|words| function.reason.contains(words))
}
