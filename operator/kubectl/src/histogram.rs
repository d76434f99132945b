//! `kubectl terrace latency`: a volume's histograms as bars of text, with quantiles. Pure.

use std::fmt::Write;

use terrace_crds::measured::Took;

use crate::measured::{Bucket, Drawing, Histogram};

/// Width of the longest bar.
const WIDTH: usize = 40;
/// Most bars of a histogram: beyond it neighbours are drawn as one.
const MOST: usize = 24;
/// Buckets an octave, as the probe counts: each is an eighth of its octave's beginning wide.
const OCTAVE: usize = 8;
/// Parts of a character, for the end of a bar.
const PARTS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/// Which quantiles, in thousandths.
const QUANTILES: [(&str, u64); 5] =
    [("p50", 500), ("p90", 900), ("p95", 950), ("p99", 990), ("p99.9", 999)];

/// The whole of it.
#[must_use]
pub fn report(node: &str, drawing: &Drawing) -> String {
    let Drawing { volume, histograms } = drawing;
    let mut text = format!(
        "{}/{} on node {node}: PersistentVolume {}, driver {}\n",
        volume.namespace, volume.claim, volume.pv_name, volume.driver
    );
    let target = volume.target_p99_ns.map(|ns| Took::from_nanos(ns).to_string());
    let stands = match volume.high {
        Some(true) => "above it now",
        Some(false) => "below it now",
        None => "nobody knows how it stands to it",
    };
    if let Some(target) = target {
        let _ = writeln!(text, "target p99 {target}: {stands}");
    }
    if histograms.is_empty() {
        text.push_str("\nNothing was done on it since the probe began.\n");
    }
    for histogram in histograms {
        text.push('\n');
        text.push_str(&one(histogram));
    }
    text
}

fn one(histogram: &Histogram) -> String {
    let Histogram { operation, count, sum_ns, max_ns, buckets } = histogram;
    let took = |ns: u64| Took::from_nanos(ns).to_string();
    let average = took(sum_ns.checked_div(*count).unwrap_or(0));
    let mut text = format!("{operation}: {count} operations, average {average}");
    for (name, thousandths) in QUANTILES {
        if let Some(ns) = quantile(buckets, thousandths) {
            let _ = write!(text, ", {name} {}", took(ns.min(*max_ns)));
        }
    }
    let _ = writeln!(text, ", max {}", took(*max_ns));
    let bars = bars(buckets);
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0);
    let widest = bars.iter().map(|bar| bar.count.to_string().len()).max().unwrap_or(0);
    for Bar { from, to, count: held } in bars {
        let to = to.map_or_else(|| "more".to_owned(), took);
        let share = percent(held, *count);
        let line = format!(
            "  {:>8} - {to:<8} {held:>widest$} {share:>6} {}",
            took(from),
            drawn(held, most)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The middle of the bucket that so many thousandths of the operations reach.
#[must_use]
pub fn quantile(buckets: &[Bucket], thousandths: u64) -> Option<u64> {
    let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let rank = (u128::from(total) * u128::from(thousandths)).div_ceil(1_000).max(1);
    let mut seen = 0;
    let found = buckets.iter().find(|bucket| {
        seen += u128::from(bucket.count);
        seen >= rank
    })?;
    Some(found.to_ns.map_or(found.from_ns, |to| u64::midpoint(found.from_ns, to)))
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bar {
    from: u64,
    to: Option<u64>,
    count: u64,
}

/// Lines from the first bucket with operations to the last, empty ones between them too; of equal width on a logarithmic
/// scale but for the two at its ends.
fn bars(buckets: &[Bucket]) -> Vec<Bar> {
    let inner = |bucket: &&Bucket| bucket.from_ns >= OCTAVE as u64 && bucket.to_ns.is_some();
    let whole =
        |bucket: &Bucket| Bar { from: bucket.from_ns, to: bucket.to_ns, count: bucket.count };
    let steps: Vec<(usize, u64)> =
        buckets.iter().filter(inner).map(|bucket| (step(bucket.from_ns), bucket.count)).collect();
    let mut bars: Vec<Bar> =
        buckets.iter().filter(|it| it.from_ns < OCTAVE as u64).map(whole).collect();
    if let (Some((first, _)), Some((last, _))) = (steps.first(), steps.last()) {
        let fits = |width: &usize| last / width - first / width < MOST;
        let width = [1, 2, 4, OCTAVE].into_iter().find(fits).unwrap_or(OCTAVE);
        for line in first / width..=last / width {
            let held = steps.iter().filter(|(step, _)| step / width == line);
            bars.push(Bar {
                from: edge(line * width),
                to: Some(edge((line + 1) * width)),
                count: held.map(|(_, count)| count).sum(),
            });
        }
    }
    let endless = |bucket: &&Bucket| bucket.from_ns >= OCTAVE as u64 && bucket.to_ns.is_none();
    bars.extend(buckets.iter().filter(endless).map(whole));
    bars
}

/// Number of the bucket that begins here, from 8 ns on.
fn step(from: u64) -> usize {
    let octave = from.ilog2() as usize;
    let eighth = usize::try_from(from >> (octave - 3)).unwrap_or(OCTAVE) - OCTAVE;
    octave * OCTAVE + eighth
}

/// Where the bucket of that number begins.
fn edge(step: usize) -> u64 {
    let (octave, eighth) = (step / OCTAVE, step % OCTAVE);
    ((OCTAVE + eighth) as u64) << (octave - 3)
}

/// A bar; what is not nothing shows.
fn drawn(count: u64, most: u64) -> String {
    let all = u128::from(count) * (WIDTH * PARTS.len()) as u128;
    let parts = all.div_ceil(u128::from(most.max(1)));
    let parts = usize::try_from(parts).unwrap_or(WIDTH * PARTS.len());
    let mut bar = "█".repeat(parts / PARTS.len());
    if let Some(rest) = (parts % PARTS.len()).checked_sub(1) {
        bar.push(PARTS[rest]);
    }
    bar
}

fn percent(part: u64, whole: u64) -> String {
    let hundredths = (u128::from(part) * 10_000).checked_div(u128::from(whole)).unwrap_or(0);
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::{Bar, Bucket, MOST, bars, drawn, edge, quantile, step};

    fn bucket(step: usize, count: u64) -> Bucket {
        Bucket { from_ns: edge(step), to_ns: Some(edge(step + 1)), count }
    }

    #[test]
    fn a_bucket_is_found_by_where_it_begins() {
        for number in 24..400 {
            assert_eq!(step(edge(number)), number);
        }
        assert_eq!((edge(80), edge(81), edge(88)), (1024, 1152, 2048));
    }

    #[test]
    fn gaps_are_drawn_and_a_wide_range_in_fewer_lines() {
        let narrow = bars(&[bucket(80, 3), bucket(83, 1)]);
        let counts: Vec<u64> = narrow.iter().map(|bar| bar.count).collect();
        assert_eq!(counts, [3, 0, 0, 1]);
        let wide = bars(&[bucket(80, 3), bucket(81, 2), bucket(260, 1)]);
        assert!(wide.len() <= MOST, "{}", wide.len());
        assert_eq!(wide[0], Bar { from: 1024, to: Some(2048), count: 5 });
        assert_eq!(wide.iter().map(|bar| bar.count).sum::<u64>(), 6);
    }

    #[test]
    fn what_lies_below_and_above_the_scale_has_a_line_of_its_own() {
        let below = Bucket { from_ns: 0, to_ns: Some(1024), count: 7 };
        let above = Bucket { from_ns: 1 << 34, to_ns: None, count: 2 };
        let all = bars(&[below, bucket(80, 3), above]);
        assert_eq!(all.iter().map(|bar| bar.count).collect::<Vec<_>>(), [7, 3, 2]);
        assert_eq!((all[0].from, all[2].to), (0, None));
    }

    #[test]
    fn a_quantile_is_the_middle_of_the_bucket_that_reaches_it() {
        let buckets = [bucket(80, 90), bucket(96, 9), bucket(112, 1)];
        let middle = |step: usize| u64::midpoint(edge(step), edge(step + 1));
        assert_eq!(quantile(&buckets, 500), Some(middle(80)));
        assert_eq!(quantile(&buckets, 990), Some(middle(96)));
        assert_eq!(quantile(&buckets, 999), Some(middle(112)));
        assert_eq!(quantile(&[], 500), None);
    }

    #[test]
    fn one_operation_among_millions_can_be_seen() {
        assert_eq!(drawn(1, 10_000_000), "▏");
        assert_eq!(drawn(0, 10), "");
        assert_eq!(drawn(10, 10).chars().count(), 40);
    }
}
