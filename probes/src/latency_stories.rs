//! Stories of [`crate::latency`]: a volume gets slow, gets well, or hovers at its threshold with noise.

use terrace_probe_abi::layout::{Operation, OperationFigures, bucket_of};

use crate::latency::{DEFAULT_TARGET_NS, Rule, Sign, Standing, Turn, WINDOW, read_window};

const MS: u64 = 1_000_000;

fn figures(durations: impl IntoIterator<Item = u64>) -> OperationFigures {
    let mut figures = OperationFigures::default();
    for ns in durations {
        figures.buckets[bucket_of(ns)] += 1;
        figures.sum_ns += ns;
    }
    figures
}

/// Lives through one window after the other; tells at which second something turned.
#[derive(Default)]
struct Volume {
    standing: Standing,
    now: i64,
    turns: Vec<(i64, Turn)>,
}

impl Volume {
    fn lives(&mut self, durations: impl IntoIterator<Item = u64>) -> Sign {
        let figures = figures(durations);
        let rule = Rule::default();
        let sign = read_window(&[(Operation::Write, &figures)], WINDOW, DEFAULT_TARGET_NS, &rule);
        self.now += 5;
        let (standing, turn) = self.standing.after(sign, &rule, self.now);
        self.standing = standing;
        self.turns.extend(turn.map(|turn| (self.now, turn)));
        sign
    }

    fn turned(&self) -> Vec<(i64, bool)> {
        self.turns.iter().map(|(at, turn)| (*at, turn.is_high)).collect()
    }
}

/// The same numbers every time (xorshift), from 0 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn a_slow_volume_is_high_after_two_windows_and_over_after_four_good_ones() {
    let mut volume = Volume::default();
    for _ in 0..4 {
        volume.lives([MS; 500]);
    }
    for _ in 0..6 {
        volume.lives([25 * MS; 200]);
    }
    for _ in 0..6 {
        volume.lives([MS; 500]);
    }
    assert_eq!(
        volume.turned(),
        [(30, true), (70, false)],
        "slow from 20 to 50: after 10 s, and 20 s"
    );
    let measured = volume.turns[0].1.measured.unwrap();
    assert_eq!((measured.operation, measured.slow_share), (Operation::Write, 1.0));
    assert!(measured.p99_ns.abs_diff(25 * MS) < 2 * MS, "{measured:?}");
}

#[test]
fn a_volume_that_does_nothing_any_more_is_not_high_for_ever() {
    let mut volume = Volume::default();
    volume.lives([25 * MS; 200]);
    volume.lives([25 * MS; 200]);
    for _ in 0..4 {
        assert_eq!(volume.lives([]), Sign::Idle);
    }
    assert_eq!(volume.turned(), [(10, true), (30, false)]);
    assert_eq!(volume.turns[1].1.measured, None);
}

#[test]
fn half_an_hour_of_noise_at_the_threshold_turns_at_most_once() {
    for seed in 1..=200 {
        let (mut volume, mut noise) =
            (Volume::default(), Noise(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)));
        for _ in 0..360 {
            // The whole level moves by 15 % from one window to the next, and each operation by as much around it.
            let level = 10.0 * MS as f64 * (0.85 + 0.3 * noise.next());
            let one = |noise: &mut Noise| (level * (0.85 + 0.15 * noise.next())) as u64;
            let window: Vec<u64> = (0..200).map(|_| one(&mut noise)).collect();
            volume.lives(window);
        }
        assert!(volume.turns.len() <= 1, "seed {seed}: {:?}", volume.turned());
    }
}

#[test]
fn without_the_lower_threshold_and_the_dwell_the_same_noise_flaps() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let naive = Rule { enter_windows: 1, leave_windows: 1, leave_percent: 100, ..Rule::default() };
    let (mut standing, mut turns) = (Standing::default(), 0);
    for now in 0..360 {
        let level = (10.0 * MS as f64 * (0.85 + 0.3 * noise.next())) as u64;
        let figures = figures([level; 200]);
        let sign = read_window(&[(Operation::Write, &figures)], WINDOW, DEFAULT_TARGET_NS, &naive);
        let (next, turn) = standing.after(sign, &naive, now);
        standing = next;
        turns += usize::from(turn.is_some());
    }
    assert!(turns > 50, "only {turns}: the noise of the story above proves nothing");
}

#[test]
fn a_few_slow_operations_are_no_high_latency() {
    let mut volume = Volume::default();
    for _ in 0..10 {
        assert!(matches!(volume.lives([30 * MS; 19]), Sign::Between(_)));
    }
    assert_eq!(volume.turned(), []);
}

#[test]
fn a_volume_too_slow_for_twenty_operations_is_high_all_the_same() {
    let mut volume = Volume::default();
    volume.lives([500 * MS; 10]);
    volume.lives([5000 * MS; 1]);
    assert_eq!(volume.turned(), [(10, true)]);
}

#[test]
fn one_bad_window_is_forgiven_and_one_good_one_ends_nothing() {
    let mut volume = Volume::default();
    for _ in 0..5 {
        volume.lives([25 * MS; 200]);
        volume.lives([9 * MS; 200]);
    }
    assert_eq!(volume.turned(), []);
    volume.lives([25 * MS; 200]);
    volume.lives([25 * MS; 200]);
    for _ in 0..5 {
        for _ in 0..3 {
            volume.lives([MS; 200]);
        }
        volume.lives([9 * MS; 200]);
    }
    assert_eq!(volume.turned().len(), 1, "{:?}", volume.turned());
}

#[test]
fn the_slowest_operation_speaks_for_the_volume() {
    let (reads, syncs) = (figures([MS; 1000]), figures([40 * MS; 30]));
    let window = [(Operation::Read, &reads), (Operation::Fsync, &syncs)];
    match read_window(&window, WINDOW, DEFAULT_TARGET_NS, &Rule::default()) {
        Sign::Bad(measured) => assert_eq!(measured.operation, Operation::Fsync),
        other => panic!("{other:?}"),
    }
}
