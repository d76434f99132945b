//! Figures from the probe's metrics page. Pure but for the asking.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;
use terrace_probe_abi::layout::Operation;

use crate::socket::fetch;

/// A page in Prometheus' text format.
#[derive(Debug)]
pub(crate) struct Page {
    /// By a name with its labels, as the page has them.
    series: BTreeMap<String, f64>,
}

impl Page {
    pub(crate) fn get(address: SocketAddr) -> Result<Self> {
        Ok(Self::parse(&fetch(address)?))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self { series: series.collect() }
    }

    /// Bytes that a claim's volume read or wrote; none where that operation moves none, or the page does not say.
    pub(crate) fn bytes(&self, claim: &str, operation: Operation) -> Option<u64> {
        let direction = match operation {
            Operation::Read => "direction=\"read\"",
            Operation::Write => "direction=\"write\"",
            Operation::Fsync | Operation::Readdir => return None,
        };
        let claim = format!("persistentvolumeclaim=\"{claim}\"");
        self.sum("terrace_volume_io_bytes_total{", &[&claim, direction])
    }

    /// Operations of a claim.
    pub(crate) fn count(&self, claim: &str, operation: Operation) -> Option<u64> {
        let operation = format!("operation=\"{}\"", format!("{operation:?}").to_lowercase());
        let claim = format!("persistentvolumeclaim=\"{claim}\"");
        self.sum("terrace_volume_operation_duration_seconds_count{", &[&claim, &operation])
    }

    /// Series of operations that say less than they did, with both.
    pub(crate) fn fell(&self, earlier: &Self) -> Vec<String> {
        let grows = |series: &&String| {
            let name = series.split('{').next().unwrap_or_default();
            let grows = ["_total", "_count", "_sum", "_bucket"];
            let is_own = name.starts_with("terrace_probe_") || !name.starts_with("terrace_");
            !is_own && grows.iter().any(|end| name.ends_with(end))
        };
        let of_operations = earlier.series.keys().filter(grows);
        let fell = of_operations.filter_map(|series| {
            let (old, new) = (earlier.series.get(series)?, self.series.get(series)?);
            (new < old).then(|| format!("{series} from {old} to {new}"))
        });
        fell.collect()
    }

    /// This page, with what only an earlier one had.
    pub(crate) fn over(mut self, earlier: Self) -> Self {
        for (series, value) in earlier.series {
            self.series.entry(series).or_insert(value);
        }
        self
    }

    /// Failed operations of a claim, by error.
    pub(crate) fn errors(&self, claim: &str) -> BTreeMap<String, u64> {
        let claim = format!("persistentvolumeclaim=\"{claim}\"");
        self.by_label("terrace_volume_operation_errors_total{", &claim, "error")
    }

    /// Operations it knows of and did not count, by reason.
    pub(crate) fn missed(&self) -> BTreeMap<String, u64> {
        let mut found = self.by_label("terrace_probe_missed_total{", "", "reason");
        found.insert("unnamed".to_owned(), self.unnamed());
        found
    }

    /// Operations on mounts that went before anybody could say whose they were: counted, and for nobody.
    fn unnamed(&self) -> u64 {
        let name = "terrace_operation_duration_seconds_count{";
        self.sum(name, &["\"unnamed\""]).unwrap_or(0)
    }

    /// Sums of the series that have a label, by what it says.
    fn by_label(&self, name: &str, having: &str, label: &str) -> BTreeMap<String, u64> {
        let label = format!("{label}=\"");
        let mut found = BTreeMap::new();
        for (series, value) in self.series.range(name.to_owned()..) {
            let Some(labels) = series.strip_prefix(name) else { break };
            let said = labels.split(&label).nth(1).and_then(|rest| rest.split('"').next());
            if let Some(said) = said.filter(|_| labels.contains(having)) {
                *found.entry(said.to_owned()).or_default() += *value as u64;
            }
        }
        found
    }

    /// A figure of the node without labels.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.series.get(name).copied()
    }

    fn sum(&self, name: &str, labels: &[&str]) -> Option<u64> {
        let begins = self.series.range(name.to_owned()..);
        let of_name = begins.take_while(|(series, _)| series.starts_with(name));
        let fits = |series: &String| labels.iter().all(|label| series.contains(label));
        let mut sum = None;
        for (_, value) in of_name.filter(|(series, _)| fits(series)) {
            *sum.get_or_insert(0) += *value as u64;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::layout::Operation;

    use super::Page;

    #[test]
    fn bytes_are_those_of_the_claim_and_the_direction() {
        let page = Page::parse(
            "# TYPE terrace_volume_io_bytes_total counter\n\
             terrace_volume_io_bytes_total{namespace=\"oracle\",persistentvolumeclaim=\"claim-0001\",direction=\"read\"} 4096\n\
             terrace_volume_io_bytes_total{namespace=\"oracle\",persistentvolumeclaim=\"claim-0011\",direction=\"read\"} 1\n\
             terrace_probe_missed_total{reason=\"compat\"} 3\n\
             terrace_probe_missed_total{reason=\"no_slot\"} 0\n",
        );
        assert_eq!(page.bytes("claim-0001", Operation::Read), Some(4096));
        assert_eq!(page.bytes("claim-0001", Operation::Write), None);
        let missed = [("compat", 3), ("no_slot", 0), ("unnamed", 0)];
        assert_eq!(page.missed(), missed.map(|(why, count)| (why.to_owned(), count)).into());
    }

    #[test]
    fn what_says_less_fell_and_what_is_away_for_a_moment_did_not() {
        let page = |text: &str| Page::parse(text);
        let old = page(
            "terrace_volume_a_total{x=\"1\"} 5\nterrace_volume_b_count 7\nterrace_probe_c_total 9\n",
        );
        assert_eq!(page("terrace_volume_b_count 7\n").fell(&old), Vec::<String>::new());
        let kept = page("terrace_volume_b_count 8\n").over(old);
        let less = page("terrace_volume_a_total{x=\"1\"} 4\nterrace_probe_c_total 0\n");
        assert_eq!(less.fell(&kept), ["terrace_volume_a_total{x=\"1\"} from 5 to 4"]);
    }
}
