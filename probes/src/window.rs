//! Windows and access: what happened between two looks at counters that only grow. Pure; the clock is handed in.

use terrace_probe_abi::layout::OperationFigures;

/// What was counted between two looks. `None` where a counter fell: then these are not the same counters, and the second look
/// says nothing about what happened in between.
///
/// `max_ns` is no counter: it is that of the second look.
#[must_use]
pub fn difference(before: &OperationFigures, now: &OperationFigures) -> Option<OperationFigures> {
    let mut between = now.clone();
    let OperationFigures {
        sum_ns,
        bytes,
        slow,
        cached,
        synced,
        max_ns: _,
        errors,
        sizes,
        paths,
        buckets,
    } = before;
    let single = [
        (&mut between.sum_ns, sum_ns),
        (&mut between.bytes, bytes),
        (&mut between.slow, slow),
        (&mut between.cached, cached),
        (&mut between.synced, synced),
    ];
    let errors = between.errors.iter_mut().zip(errors);
    let sizes = between.sizes.iter_mut().zip(sizes);
    let paths = between.paths.iter_mut().zip(paths);
    let buckets = between.buckets.iter_mut().zip(buckets);
    for (now, before) in single.into_iter().chain(errors).chain(sizes).chain(paths).chain(buckets) {
        *now = now.checked_sub(*before)?;
    }
    Some(between)
}

const HOUR: i64 = 3600;
/// Hours that are kept: a day.
const HOURS: usize = 24;

/// When a volume was last read or written, and how often a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Unix seconds; none since this was begun.
    pub last: Option<i64>,
    /// Since when it is watched without a gap, in Unix seconds.
    pub since: i64,
    hours: [u64; HOURS],
    /// The hour that is being counted, since 1970.
    hour: i64,
}

impl Access {
    /// Nothing seen, watched from `now` on.
    #[must_use]
    pub fn new(now: i64) -> Self {
        Self { last: None, since: now, hours: [0; HOURS], hour: now.div_euclid(HOUR) }
    }

    /// In a window that ended at `now` there were so many reads and writes.
    pub fn note(&mut self, now: i64, accesses: u64) {
        self.turn(now);
        if accesses > 0 {
            self.last = Some(now);
            let hours = &mut self.hours[Self::place(self.hour)];
            *hours = hours.saturating_add(accesses);
        }
    }

    /// Accesses a day, averaged over what was watched of the last one. The first hour counts as a whole one: a busy minute
    /// says little of a day.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an average needs no more than 52 bits")]
    pub fn per_day(&mut self, now: i64) -> f64 {
        self.turn(now);
        let sum = self.hours.iter().fold(0_u64, |sum, hour| sum.saturating_add(*hour));
        // The hour that is being counted is not over: of a full day, 23 hours and a part are kept.
        let kept = (now - self.since).min(HOUR * 23 + now.rem_euclid(HOUR));
        sum as f64 * 86_400.0 / kept.max(HOUR) as f64
    }

    /// Empties the hours between the one that was counted and now.
    fn turn(&mut self, now: i64) {
        let hour = now.div_euclid(HOUR);
        let passed = hour.saturating_sub(self.hour).clamp(0, 24);
        (1..=passed).for_each(|step| self.hours[Self::place(self.hour + step)] = 0);
        self.hour = self.hour.max(hour);
    }

    fn place(hour: i64) -> usize {
        usize::try_from(hour.rem_euclid(24)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::layout::OperationFigures;

    use super::{Access, HOUR, difference};

    fn figures(sum_ns: u64, bucket: u64, error: u64) -> OperationFigures {
        let mut figures = OperationFigures { sum_ns, ..OperationFigures::default() };
        figures.buckets[7] = bucket;
        figures.errors[1] = error;
        figures
    }

    #[test]
    fn a_window_is_the_difference_of_every_counter() {
        let between = difference(&figures(10, 2, 1), &figures(25, 5, 1)).unwrap();
        assert_eq!((between.sum_ns, between.buckets[7], between.errors[1]), (15, 3, 0));
    }

    #[test]
    fn a_counter_that_fell_makes_no_window() {
        assert!(difference(&figures(10, 2, 1), &figures(25, 1, 1)).is_none());
        assert!(difference(&figures(10, 2, 1), &figures(25, 5, 0)).is_none());
    }

    #[test]
    fn adding_back_gives_what_was() {
        let (before, now) = (figures(10, 2, 1), figures(25, 5, 4));
        let mut sum = before.clone();
        sum.add(&difference(&before, &now).unwrap());
        assert_eq!((sum.sum_ns, sum.buckets, sum.errors), (now.sum_ns, now.buckets, now.errors));
    }

    #[test]
    fn accesses_of_the_first_day_are_brought_to_a_day() {
        let mut access = Access::new(0);
        access.note(1800, 50);
        assert_eq!((access.per_day(1800), access.last), (1200.0, Some(1800)));
        access.note(7200, 0);
        assert_eq!((access.per_day(7200), access.last), (600.0, Some(1800)));
    }

    #[test]
    fn what_is_a_day_old_is_forgotten() {
        let mut access = Access::new(0);
        for hour in 0..100 {
            access.note(hour * HOUR + 1, 100);
        }
        let then = 99 * HOUR + 1;
        let daily = access.per_day(then);
        assert!((2400.0..2520.0).contains(&daily), "{daily}");
        assert!(access.per_day(then + 40 * HOUR) < 1.0);
        assert_eq!(access.last, Some(then));
    }
}
