//! The ladder over kernels that were met and kernels that are said to exist.

use terrace_probe_abi::layout::{Operation, Path, Tier};

use crate::ladder::{Choice, Facts, Fault, Known, Lockdown, Refusal, choose, report, unobservable};
use crate::loader::Plan;
use crate::program::{Hook, TARGETS};

fn whole(kernel: (u32, u32)) -> Facts {
    Facts {
        kernel,
        types: Known::There,
        lockdown: Lockdown::None,
        lacking: vec![],
        kprobes: Known::There,
        functions: TARGETS
            .iter()
            .flat_map(|target| target.functions.iter().copied().chain(target.ends))
            .map(str::to_owned)
            .collect(),
    }
}

fn of(choices: &[Choice], hook: Hook) -> &Choice {
    choices.iter().find(|choice| choice.hook == hook).unwrap()
}

fn refuse(hook: Hook, function: &'static str, tier: Tier) -> Refusal {
    Refusal { hook, function, tier, why: "not permitted".into(), fault: Fault::Refused }
}

#[test]
fn a_whole_kernel_gives_the_best_of_each() {
    let choices = choose(&whole((6, 1)), &Plan::default(), &[]);
    assert_eq!(of(&choices, Hook::Read).tier, Tier::Fentry);
    assert_eq!(of(&choices, Hook::Uring).tier, Tier::RawTracepoint);
    assert!(choices.iter().all(|choice| choice.reason.is_empty()));
    assert!(unobservable(&choices, Operation::ALL).is_empty());
}

#[test]
fn a_locked_kernel_leaves_system_calls_and_says_what_they_do_not_show() {
    let facts = Facts { kprobes: Known::Missing, ..whole((6, 18)) };
    let refusals: Vec<Refusal> = TARGETS
        .iter()
        .flat_map(|target| {
            target.functions.iter().map(|name| refuse(target.hook, name, Tier::Fentry))
        })
        .collect();
    let choices = choose(&facts, &Plan::default(), &refusals);
    let read = of(&choices, Hook::Read);
    assert_eq!((read.tier, read.function), (Tier::RawTracepoint, "sys_enter"));
    assert_eq!(read.reason, "fentry: not permitted; kprobe: the kernel has none (CONFIG_KPROBES)");
    assert_eq!(of(&choices, Hook::Fault).tier, Tier::None);
    assert_eq!(unobservable(&choices, Operation::ALL), [Path::Aio, Path::Mmap]);
    assert_eq!(report(&choices)[0].function, "vfs_read");
}

#[test]
fn functions_are_chosen_one_by_one_and_by_the_name_they_have() {
    let mut facts = whole((6, 1));
    facts.functions.remove("vfs_readv");
    facts.functions.remove("iterate_dir");
    let refusals = [refuse(Hook::Write, "vfs_write", Tier::Fentry)];
    let choices = choose(&facts, &Plan::default(), &refusals);
    assert_eq!(of(&choices, Hook::Readv).function, "do_iter_read");
    assert_eq!(of(&choices, Hook::Iterate).tier, Tier::RawTracepoint);
    assert_eq!(of(&choices, Hook::Write).tier, Tier::Kprobe);
    assert_eq!(of(&choices, Hook::Read).tier, Tier::Fentry);
}

#[test]
fn what_forbids_all_is_one_sentence() {
    let cases = [
        (Facts { types: Known::Missing, ..whole((6, 1)) }, "describe its types"),
        (Facts { lockdown: Lockdown::Confidentiality, ..whole((6, 1)) }, "confidentiality"),
        (Facts { lacking: vec!["CAP_BPF"], ..whole((6, 1)) }, "lacks CAP_BPF"),
        (whole((5, 7)), "too old"),
    ];
    for (facts, words) in cases {
        for choice in choose(&facts, &Plan::default(), &[]) {
            assert_eq!(choice.tier, Tier::None);
            assert!(choice.reason.contains(words), "{}", choice.reason);
        }
    }
}

#[test]
fn a_forced_tier_is_taken_or_none() {
    let plan = Plan { forced: Some(Tier::RawTracepoint), ..Plan::default() };
    let choices = choose(&whole((6, 1)), &plan, &[]);
    assert_eq!(of(&choices, Hook::Read).tier, Tier::RawTracepoint);
    assert_eq!(of(&choices, Hook::Fault).tier, Tier::None);
    let none = Plan { forced: Some(Tier::None), ..Plan::default() };
    for choice in choose(&whole((6, 1)), &none, &[]) {
        assert_eq!((choice.tier, choice.reason.as_str()), (Tier::None, "forced to none"));
    }
}

#[test]
fn what_goes_past_a_function_is_left_to_system_calls_even_where_its_tier_is_forced() {
    let plan = Plan { forced: Some(Tier::Kprobe), ..Plan::default() };
    let refused = refuse(Hook::Fsync, "vfs_fsync_range", Tier::Kprobe);
    let bypassed = Refusal { fault: Fault::Bypassed, ..refused.clone() };
    let choices = choose(&whole((6, 1)), &plan, &[bypassed]);
    let fsync = of(&choices, Hook::Fsync);
    assert_eq!((fsync.tier, fsync.reason.as_str()), (Tier::RawTracepoint, "kprobe: not permitted"));
    assert_eq!(of(&choices, Hook::SyncRange).tier, Tier::Kprobe);
    assert_eq!(unobservable(&choices, Operation::ALL), [Path::Aio]);
    let choices = choose(&whole((6, 1)), &plan, &[refused]);
    assert_eq!(of(&choices, Hook::Fsync).tier, Tier::None);
}

#[test]
fn what_is_switched_off_is_not_followed_nor_called_unseen() {
    let plan = Plan { operations: vec![Operation::Fsync], ..Plan::default() };
    let choices = choose(&whole((6, 1)), &plan, &[]);
    assert_eq!(of(&choices, Hook::Read).reason, "switched off");
    assert_eq!(of(&choices, Hook::Fsync).tier, Tier::Fentry);
    assert!(unobservable(&choices, &plan.operations).is_empty());
}
