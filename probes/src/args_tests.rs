//! Every switch and number that was asked for, its default and what it does.

use std::time::Duration;

use clap::{CommandFactory, Parser};
use terrace_probe_abi::layout::{Operation, SharedClass, Tier};

use super::Args;
use crate::class::Bounds;
use crate::latency::Rule;
use crate::loader::{Plan, Switch};
use crate::metrics_view::Group;
use crate::run_settings::Settings;

fn parse(more: &[&str]) -> Result<Args, clap::Error> {
    Args::try_parse_from([&["terrace-probe", "--node-name", "n1"], more].concat())
}

#[test]
fn nothing_said_means_what_was_asked_for() {
    let args = parse(&[]).unwrap();
    let plan = args.plan();
    assert_eq!(plan, Plan { pins: Some("/var/lib/terrace/bpf/probe".into()), ..Plan::default() });
    assert_eq!((plan.threshold, plan.sampling), (Duration::from_millis(10), 0.1));
    assert_eq!((args.event_buffer, args.rule()), (10_000, Rule::default()));
    assert!(!args.asked_names);
    let settings = Settings::of(&args);
    assert_eq!((settings.bounds, settings.host_events), (Bounds::default(), Switch::Off));
    let set = parse(&["--critical-threshold", "1s", "--host-events", "on"]).unwrap();
    let set = Settings::of(&set);
    assert_eq!((set.bounds.critical_ns, set.host_events), (1_000_000_000, Switch::On));
}

#[test]
fn an_operation_that_is_left_out_is_not_attached() {
    let plan = parse(&["--operations", "fsync,read"]).unwrap().plan();
    assert_eq!(plan.operations, [Operation::Fsync, Operation::Read]);
    assert!(parse(&["--operations", "iterate"]).is_err());
}

#[test]
fn a_type_of_volume_can_be_left_out() {
    let args = Settings::of(&parse(&["--volume-types", "pvc,secret"]).unwrap());
    assert!(args.counts(Group::Volume) && args.counts(Group::Class(SharedClass::Secret)));
    assert!(!args.counts(Group::Class(SharedClass::ConfigMap)));
    assert!(!args.counts(Group::Class(SharedClass::EmptyDir)));
    assert!(args.counts(Group::Class(SharedClass::CriticalEtcd)), "is no volume");
}

#[test]
fn every_other_switch_does_what_it_says() {
    let args = parse(&[
        "--pins",
        "none",
        "--tier",
        "raw-tracepoint",
        "--sampling",
        "1",
        "--slow-threshold",
        "250us",
        "--event-buffer",
        "5",
        "--block-times",
        "off",
        "--enter-windows",
        "3",
        "--leave-percent",
        "50",
        "--asked-names",
        "--events-per-second",
        "7",
    ]);
    let args = args.unwrap();
    let plan = args.plan();
    assert_eq!((plan.pins, plan.forced), (None, Some(Tier::RawTracepoint)));
    assert_eq!((plan.sampling, plan.threshold), (1.0, Duration::from_micros(250)));
    assert_eq!((plan.slow_burst, plan.slow_per_second, plan.block), (5, 7, Switch::Off));
    assert_eq!((args.rule().enter_windows, args.rule().leave_percent), (3, 50));
}

#[test]
fn nonsense_is_refused_with_a_sentence() {
    for odd in [
        ["--sampling", "1.5"],
        ["--sampling", "NaN"],
        ["--slow-threshold", "10"],
        ["--slow-threshold", "0ms"],
        ["--critical-threshold", "9ms"],
    ] {
        let said = parse(&odd).unwrap_err().to_string();
        assert!(said.contains("such as"), "{said}");
    }
}

#[test]
fn the_help_explains_every_flag() {
    let command = Args::command();
    let silent: Vec<_> = command.get_arguments().filter(|arg| arg.get_help().is_none()).collect();
    assert!(silent.is_empty(), "{silent:?}");
}
