//! What is remembered, and what is told of it.
use terrace_probe_abi::layout::Operation;
use terrace_probe_abi::wire::{ErrorTotals, Figures, Names, VolumeName};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn figures(pv: &str, eio: u64) -> ToNode {
    let errors = ErrorTotals { eio, ..ErrorTotals::default() };
    let volume = VolumeFigures { pv_name: pv.into(), errors, ..VolumeFigures::default() };
    ToNode::Figures(Figures { volumes: vec![volume], missed: Vec::new() })
}

fn turned(pv: &str, high: bool) -> Turned {
    Turned {
        pv_name: pv.into(),
        high,
        operation: Operation::Read,
        measured_p99_ns: 2,
        target_ns: 1,
        since_unix: 0,
        slow_share: 0.5,
    }
}

fn board() -> Board {
    Board::new(at(0))
}

fn outbox() -> (mpsc::Sender<ToProbe>, mpsc::Receiver<ToProbe>) {
    mpsc::channel(4)
}

#[test]
fn a_turn_is_told_once_however_often_it_is_said() {
    let board = board();
    let said = |connection, high| board.take(connection, ToNode::Turned(turned("pv", high)), at(1));
    let first = board.connected(outbox().0, at(0));
    assert_eq!(said(first, true), [Turn::Latency(turned("pv", true))]);
    assert_eq!(said(first, true), []);
    let second = board.connected(outbox().0, at(5));
    assert_eq!(said(second, true), [], "it is said again at connect");
    assert_eq!(said(second, false), [Turn::Latency(turned("pv", false))]);
    assert_eq!(said(second, false), []);
}

#[test]
fn a_slow_volume_that_a_new_probe_says_nothing_of_is_told_to_have_recovered() {
    let board = board();
    let first = board.connected(outbox().0, at(0));
    assert_eq!(board.take(first, ToNode::Turned(turned("pv", true)), at(1)).len(), 1);
    assert_eq!(board.pass_time(at(100)), [], "it is as it was");
    board.connected(outbox().0, at(100));
    assert_eq!(board.pass_time(at(119)), [], "it may find it again");
    assert_eq!(board.pass_time(at(120)), [Turn::LatencyForgotten { pv_name: "pv".into() }]);
    assert_eq!(board.pass_time(at(121)), []);
}

#[test]
fn errors_are_told_when_they_begin_and_when_they_end() {
    let board = board();
    let here = board.connected(outbox().0, at(0));
    assert_eq!(board.take(here, figures("pv", 4), at(0)), [], "of unknown age");
    let begun = board.take(here, figures("pv", 5), at(5));
    assert!(matches!(&begun[..], [Turn::Failing { failing, .. }] if failing.eio == 1), "{begun:?}");
    assert_eq!(board.take(here, figures("pv", 9), at(10)), [], "they go on");
    assert_eq!(board.failing("pv", at(11)).expect("failing").eio, 5);
    assert_eq!(board.pass_time(at(309)), []);
    assert_eq!(board.failing("pv", at(310)), None);
    assert_eq!(board.pass_time(at(310)), [Turn::Healed { pv_name: "pv".into() }]);
}

#[test]
fn an_older_connection_has_nothing_to_say_and_its_end_ends_nothing() {
    let board = board();
    let (older, newer) = (board.connected(outbox().0, at(0)), board.connected(outbox().0, at(1)));
    assert_eq!(board.take(older, ToNode::Turned(turned("pv", true)), at(2)), []);
    board.disconnected(older, at(3));
    assert_eq!(board.link(), Link::Up { since: at(1) });
    board.disconnected(newer, at(4));
    assert_eq!(board.link(), Link::Down { since: at(4) });
}

#[test]
fn what_no_pod_uses_any_more_is_forgotten() {
    let board = board();
    let here = board.connected(outbox().0, at(0));
    board.take(here, figures("kept", 0), at(0));
    board.take(here, figures("gone", 0), at(0));
    let volume = VolumeName { pv_name: "kept".into(), ..VolumeName::default() };
    let names = Names { volumes: vec![volume], ..Names::default() };
    let known = Known { names, ..Known::default() };
    assert!(board.tell_known(known.clone()));
    assert!(board.reading("kept").is_some() && board.reading("gone").is_none());
    assert!(!board.tell_known(known), "I8: the same list is not pushed again");
}

#[test]
fn a_probe_that_says_too_much_does_not_fill_the_memory() {
    let board = board();
    let here = board.connected(outbox().0, at(0));
    for number in 0..(REMEMBERED + 10) {
        board.take(here, figures(&number.to_string(), 0), at(0));
    }
    assert_eq!(board.inner().readings.len(), REMEMBERED);
}

#[tokio::test]
async fn a_question_is_answered_to_all_who_asked_or_to_none() {
    let board = board();
    assert_eq!(board.ask("pv").await, Err(AskError::NoProbe));
    let (sender, mut asked) = outbox();
    let here = board.connected(sender, at(0));
    let answer = async {
        assert_eq!(asked.recv().await, Some(ToProbe::Histogram { pv_name: "pv".into() }));
        assert_eq!(asked.recv().await, Some(ToProbe::Histogram { pv_name: "pv".into() }));
        let histogram = HistogramOf { pv_name: "pv".into(), operations: Vec::new() };
        board.take(here, ToNode::HistogramOf(histogram), at(1));
    };
    let (one, two, ()) = tokio::join!(board.ask("pv"), board.ask("pv"), answer);
    assert_eq!(one.expect("answered"), two.expect("answered"));
    let gone = async {
        asked.recv().await;
        board.disconnected(here, at(2));
    };
    let (none, ()) = tokio::join!(board.ask("pv"), gone);
    assert_eq!(none, Err(AskError::NoAnswer));
}

#[test]
fn a_node_shows_its_probe_until_that_is_away_for_good() {
    let board = board();
    let here = board.connected(outbox().0, at(0));
    assert_eq!(board.node_status(None, at(1)), None, "it has not said what it is");
    let hello = Hello { version: "1.2".into(), ..Hello::default() };
    board.take(here, ToNode::Hello(hello), at(2));
    let shown = board.node_status(None, at(3)).expect("shown");
    assert_eq!(shown.version, "1.2");
    board.disconnected(here, at(10));
    assert_eq!(board.node_status(Some(&shown), at(39)), Some(shown.clone()), "it may restart");
    assert_eq!(board.node_status(Some(&shown), at(40)), None);
}
